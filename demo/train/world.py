"""Train the demo world on the paddle game: video tokenizer, latent actions, dynamics, in TinyWorlds' architecture.

Two things differ from TinyWorlds' own training. The latent action model is told the true action of part of its loss:
left to itself it finds codes, but nothing says which code is *left*. And the dynamics model learns the one case that a
rollout asks for, a masked last frame behind known ones. With ``--scheduled-sampling`` a growing share of the batches
has the model's own last prediction in the context, through pixels, as a rollout has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file
from torch import Generator, Tensor

from ...models.world import (
    DynamicsConfig,
    DynamicsModel,
    LatentActionModel,
    LatentActionsConfig,
    TokenizerConfig,
    VideoTokenizer,
    World,
    load_world,
    save_world,
)
from ...models.world.networks.latent_actions import to_action_vectors
from ...pipeline.pictures.convert import to_uint8, to_unit
from .. import demo_file
from ..game import ACTIONS, SIZE, find_effective_actions, play
from .loop import EMA, Log, make_optimizer, make_parser, schedule_steps, take_step

__all__ = ["main", "train_actions", "train_dynamics", "train_tokenizer", "write_clip"]

WINDOW = 5  # frames of a training video: up to four of context and one to predict
PATCH = 4
BATCH = 16
TOKENIZER = TokenizerConfig(SIZE, PATCH, 48, 4, 96, 2, latent_dim=4, num_bins=4)
ACTION_MODEL = LatentActionsConfig(SIZE, PATCH, 32, 4, 64, 2, n_actions=len(ACTIONS))
DYNAMICS = DynamicsConfig(SIZE, PATCH, 64, 4, 144, 4, latent_dim=4, num_bins=4, action_dim=2)
FINAL_RATIO = 0.5  # share of batches with true contexts at the end of scheduled sampling


def train_tokenizer(steps: int, seed: int, models: Path) -> VideoTokenizer:
    """Train frames -> tokens -> frames; a changed pixel counts as much as the ground, of which there is far more."""
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    tokenizer = VideoTokenizer(TOKENIZER)
    optimizer, log = make_optimizer(tokenizer, 3e-3), Log("world_tokenizer", steps, models)
    for i in schedule_steps(steps, optimizer):
        frames = play(BATCH, WINDOW, generator).frames
        error = tokenizer(frames) - frames
        log.add(i, loss=take_step(error.abs().mean() + 4 * error.square().mean(), tokenizer, optimizer))
    return tokenizer


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


class Windows:
    """Videos of the game with their tokens, made once, in memory."""

    def __init__(self, tokenizer: VideoTokenizer, count: int, generator: Generator) -> None:
        episodes = play(count, WINDOW, generator)
        self.frames = episodes.frames
        self.actions = to_action_vectors(find_effective_actions(episodes), DYNAMICS.action_dim)
        with torch.no_grad():
            self.tokens = torch.cat([tokenizer.tokenize(part) for part in episodes.frames.split(64)])


@dataclass(frozen=True)
class Plan:
    """How the dynamics model is trained; ``windows`` is the number of videos it learns from."""

    steps: int
    seed: int
    scheduled_sampling: bool = False
    windows: int = 8192

    def ratio(self, i: int) -> float:
        """The share of batches with true contexts at step i: 1.0 falling to 0.5 with scheduled sampling."""
        return 1 - (1 - FINAL_RATIO) * i / self.steps if self.scheduled_sampling else 1.0


def train_dynamics(tokenizer: VideoTokenizer, plan: Plan, models: Path) -> DynamicsModel:
    """Train the tokens of a masked frame behind two to four known frames and the actions between them."""
    torch.manual_seed(plan.seed)
    generator = Generator().manual_seed(plan.seed)
    windows = Windows(tokenizer, plan.windows, generator)
    model = DynamicsModel(DYNAMICS)
    ema, optimizer = EMA(model), make_optimizer(model, 2e-3)
    log = Log("world_dynamics_scheduled" if plan.scheduled_sampling else "world_dynamics", plan.steps, models)
    for i in schedule_steps(plan.steps, optimizer):
        rows = torch.randint(len(windows.frames), (BATCH,), generator=generator)
        if float(torch.rand((), generator=generator)) < plan.ratio(i):
            context = (2, 2, 3, 4)[int(torch.randint(4, (), generator=generator))]
            tokens, actions = windows.tokens[rows, : context + 1], windows.actions[rows, :context]
        else:
            tokens, actions = _predict_context(tokenizer, model, windows, rows)
        loss, right = _compute_masked_loss(tokenizer, model, tokens, actions, generator)
        value = take_step(loss, model, optimizer)
        ema.update()
        log.add(i, loss=value, right=right, ratio=plan.ratio(i))
    ema.write_back()
    return model


def _compute_masked_loss(
    tokenizer: VideoTokenizer, model: DynamicsModel, tokens: Tensor, actions: Tensor, generator: Generator
) -> tuple[Tensor, float]:
    """Cross-entropy of the last frame's masked tokens, and the share that is right. Shapes: tokens (b, t, p)."""
    b, t, p = tokens.shape
    # A rollout begins with everything masked: two in five batches do, too.
    share = torch.rand(b, 1, generator=generator).clamp(min=0.05)
    share = torch.where(torch.rand(b, 1, generator=generator) < 0.4, 1.0, share)
    hidden = torch.rand(b, p, generator=generator) < share
    mask = torch.cat([torch.zeros(b, t - 1, p, dtype=torch.bool), rearrange(hidden, "b p -> b 1 p")], dim=1)
    logits = model(model.mask_latents(tokenizer.to_latents(tokens), mask), actions)[:, -1][hidden]
    truth = tokens[:, -1][hidden]
    return F.cross_entropy(logits, truth), float((logits.argmax(-1) == truth).float().mean())


@torch.no_grad()
def _predict_context(
    tokenizer: VideoTokenizer, model: DynamicsModel, windows: Windows, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict frame 2 from frames 0 and 1 in one pass, and put the prediction into the context of frame 3."""
    frames, actions = windows.frames[rows], windows.actions[rows]
    latents = tokenizer.to_latents(windows.tokens[rows, :2])
    unknown = model.mask_token.expand(len(rows), 1, latents.shape[2], -1)
    guess = model(torch.cat([latents, unknown], dim=1), actions[:, :2])[:, -1:].argmax(-1)
    decoded = tokenizer.decode(torch.cat([latents, tokenizer.to_latents(guess)], dim=1), last=1).clamp(-1, 1)
    window = torch.cat([frames[:, 1:2], decoded, frames[:, 3:4]], dim=1)
    return tokenizer.tokenize(window), actions[:, 1:3]


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
    parser.add_argument("--steps", type=int, nargs=3, default=(600, 1200, 2500), metavar=stages)
    parser.add_argument("--scheduled-sampling", action="store_true", help="own predictions in the context, too")
    parser.add_argument("--keep", type=Path, metavar="WORLD", help="take tokenizer and actions from this file")
    parser.add_argument("--windows", type=int, default=8192, help="videos that the dynamics model learns from")
    parser.add_argument("--output", type=Path, help="file to write, if not world.safetensors in the models folder")
    options = parser.parse_args(arguments)
    folder, seed, steps = options.models, options.seed, options.steps
    if options.keep:
        tokenizer, actions = _load_kept(options.keep)
    else:
        tokenizer = train_tokenizer(steps[0], seed, folder).eval().requires_grad_(False)
        actions = train_actions(steps[1], seed, folder)
    plan = Plan(steps[2], seed, options.scheduled_sampling, options.windows)
    dynamics = train_dynamics(tokenizer, plan, folder)
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
