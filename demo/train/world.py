"""Train the demo world on the paddle game: video tokenizer, latent actions, dynamics, in TinyWorlds' architecture.

Three things differ from TinyWorlds' own training. The tokenizer is made to give a frame the same tokens wherever it
stands in a window, and tokens that small errors do not change, so that nothing is lost when frames are fed back. The
latent action model is told the true action of part of its loss: left to itself it finds codes, but nothing says which
code is *left*. And the dynamics model learns the one case that a rollout asks for, a masked last frame behind known
ones, mostly behind frames of its own (``dynamics.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from ...models.world import (
    LatentActionModel,
    LatentActionsConfig,
    TokenizerConfig,
    VideoTokenizer,
    World,
    load_world,
    save_world,
)
from ...models.world.networks.latent_actions import to_action_vectors
from ...models.world.networks.transformer import TemporalAttention
from ...pipeline.pictures.convert import to_uint8, to_unit
from .. import demo_file
from ..game import ACTIONS, BALL, SIZE, Game, find_effective_actions, play
from .dynamics import PATCH, Plan, train_dynamics
from .loop import Log, make_optimizer, make_parser, schedule_steps, take_step

__all__ = ["main", "train_actions", "train_tokenizer", "write_clip"]

BATCH = 16
FRAMES = 36  # that the tokenizer sees in a step
WINDOWS = (1, 2, 3, 4)  # lengths of the windows that it sees them in
COMPARED = 12  # of the frames, whose codes are compared with those from another window
TOKENIZER = TokenizerConfig(SIZE, PATCH, 48, 4, 96, 2, latent_dim=4, num_bins=4)
ACTION_MODEL = LatentActionsConfig(SIZE, PATCH, 32, 4, 64, 2, n_actions=len(ACTIONS))


def train_tokenizer(steps: int, seed: int, models: Path) -> VideoTokenizer:
    """Train frames -> tokens -> frames, each frame by itself.

    The attention over time is switched off, frames stand in windows of any length and order, and codes are shaken
    before they are rounded, which drives them away from the borders between two tokens.
    """
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    tokenizer = VideoTokenizer(TOKENIZER)
    _ignore_time(tokenizer)
    optimizer, log = make_optimizer(tokenizer, 3e-3), Log("world_tokenizer", steps, models)
    highest = TOKENIZER.num_bins - 1
    for i in schedule_steps(steps, optimizer, warm_up=50):
        frames = _draw_states(FRAMES, generator)
        digits = highest * (torch.tanh(_run_in_windows(tokenizer.encoder, frames, generator)) + 1) / 2
        with torch.no_grad():
            others = _run_in_windows(tokenizer.encoder, frames[:COMPARED], generator)
        apart = (digits[:COMPARED] - highest * (torch.tanh(others) + 1) / 2).square().mean()
        shaken = digits + 0.4 * (torch.rand(digits.shape, generator=generator) - 0.5)
        rounded = digits + (shaken.round().clamp(0, highest) - digits).detach()
        between = (digits - digits.round().detach()).square().mean()
        error = _run_in_windows(tokenizer.decoder, 2 * rounded / highest - 1, generator) - frames
        loss = _weigh_patches(frames, error.abs() + 4 * error.square())
        value = take_step(loss + 0.3 * apart + 0.1 * min(1, 2 * i / steps) * between, tokenizer, optimizer)
        log.add(i, loss=value, error=float(error.detach().square().mean()))
    return tokenizer


def _ignore_time(tokenizer: VideoTokenizer) -> None:
    """Set what attention over time adds to zero, for good."""
    for module in tokenizer.modules():
        if isinstance(module, TemporalAttention):
            for parameter in module.out_proj.parameters():
                nn.init.zeros_(parameter).requires_grad_(False)


def _draw_states(count: int, generator: Generator) -> Tensor:
    """Draw frames of any state of the game, more of them with the ball at the paddle than play would show."""

    def draw_even(low: int, high: int) -> Tensor:
        return 2 * torch.randint(low // 2, high // 2 + 1, (count,), generator=generator)

    def is_drawn(share: float) -> Tensor:
        return torch.rand(count, generator=generator) < share

    game, lowest = Game.begin(count, generator), SIZE - BALL
    game.y = torch.where(is_drawn(0.4), draw_even(lowest - 4, lowest), draw_even(0, lowest))
    game.x = torch.where(is_drawn(0.4), (game.paddle + draw_even(-6, 12)).clamp(0, lowest), draw_even(0, lowest))
    game.stretched = is_drawn(0.4)
    game.lose_ball(is_drawn(0.03))
    return game.draw()


def _run_in_windows(network: Callable[[Tensor], Tensor], frames: Tensor, generator: Generator) -> Tensor:
    """Run frames (n, ...) in any order, in windows of some length; return what becomes of each, in their own order."""
    length = WINDOWS[int(torch.randint(len(WINDOWS), (), generator=generator))]
    order = torch.randperm(len(frames), generator=generator)
    return network(frames[order].unflatten(0, (-1, length))).flatten(0, 1)[order.argsort()]


def _weigh_patches(frames: Tensor, errors: Tensor) -> Tensor:
    """Return the mean error, in which a patch counts for less the more often its content is seen."""
    pattern = "n c (y i) (x j) -> (n y x) (c i j)"
    patches = rearrange(frames, pattern, i=PATCH, j=PATCH)
    _, kind, counts = patches.unique(dim=0, return_inverse=True, return_counts=True)
    weights = counts[kind].float().rsqrt()
    return (weights * rearrange(errors, pattern, i=PATCH, j=PATCH).mean(-1)).sum() / weights.sum()


def train_actions(steps: int, seed: int, models: Path) -> LatentActionModel:
    """Train the action between two frames: to be of use for the next frame, and to be the true one."""
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    model = LatentActionModel(ACTION_MODEL)
    optimizer, log = make_optimizer(model, 2e-3), Log("world_actions", steps, models)
    for i in schedule_steps(steps, optimizer):
        episodes = play(BATCH, 4, generator)
        truth = find_effective_actions(episodes)
        keep = torch.rand(BATCH, 3, (SIZE // PATCH) ** 2, generator=generator) < 0.7
        predicted, vectors = model(episodes.frames, keep)
        signs = to_action_vectors(truth, ACTION_MODEL.action_dim)
        naming = F.softplus(-2 * signs * vectors).mean()
        drawing = (predicted - episodes.frames[:, 1:]).square().mean()
        right = float((model.quantizer.to_tokens(vectors) == truth).float().mean())
        log.add(i, loss=take_step(naming + drawing, model, optimizer), right=right)
    return model


def write_clip(path: Path, seed: int) -> None:
    """Write ground truth of held-out play: uint8 ``frames`` (b, t, 32, 32, 3) and ``actions`` (b, t - 1)."""
    episodes = play(8, 26, Generator().manual_seed(seed + 1000))
    frames = to_uint8(to_unit(episodes.frames), "round")
    tensors = {
        "frames": rearrange(frames, "b t c h w -> b t h w c").contiguous(),
        "actions": find_effective_actions(episodes),
    }
    save_file(tensors, path, metadata={"wan_lite.actions": " ".join(ACTIONS)})


def _load_kept(path: Path) -> tuple[VideoTokenizer, LatentActionModel]:
    """Load tokenizer and latent action model of an earlier training."""
    old = load_world(path)
    if not isinstance(old.tokenizer, VideoTokenizer) or not isinstance(old.latent_actions, LatentActionModel):
        raise ValueError(f"--keep: {path} is not a world of the current format with its actions; name one made here.")
    return old.tokenizer, old.latent_actions


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the three networks and write ``world.safetensors`` and ``world_clip.safetensors``."""
    parser = make_parser(main.__doc__)
    stages = ("TOKENIZER", "ACTIONS", "DYNAMICS")
    parser.add_argument("--steps", type=int, nargs=3, default=(800, 1200, 2600), metavar=stages)
    parser.add_argument("--keep", type=Path, metavar="WORLD", help="take tokenizer and actions from this file")
    parser.add_argument("--output", type=Path, help="file to write, if not world.safetensors in the models folder")
    options = parser.parse_args(arguments)
    folder, seed, steps = options.models, options.seed, options.steps
    if options.keep:
        tokenizer, actions = _load_kept(options.keep)
    else:
        tokenizer = train_tokenizer(steps[0], seed, folder).eval().requires_grad_(False)
        actions = train_actions(steps[1], seed, folder)
    dynamics = train_dynamics(tokenizer, Plan(steps[2], seed), folder)
    about = {"modelspec.title": "Wan Lite demo world: paddle and ball", "modelspec.license": "Apache-2.0"}
    output, clip = options.output or demo_file("world", folder), demo_file("world_clip", folder)
    for path in (output, clip):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(clip, seed)
    world = World(tokenizer, actions, dynamics)
    world.action_names = ACTIONS
    save_world(world, output, metadata=about)


if __name__ == "__main__":
    main()
