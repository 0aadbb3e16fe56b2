"""Time one generated frame of a world: TinyWorlds' own inference against this package, paired in one run.

    python -m wan_lite.benchmarks.world --tinyworlds /path/to/AlmondGod/tinyworlds

Both sides hold the same random weights at the original's default sizes and predict the same frame (checked). Without
``--tinyworlds`` the other side is a plain form of ours: no cache, whole-window logits, materialised attention.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..models.world import (
    DynamicsConfig,
    DynamicsModel,
    LatentActionModel,
    LatentActionsConfig,
    RolloutConfig,
    RolloutProgress,
    TokenizerConfig,
    VideoTokenizer,
    World,
    rollout,
)
from ..models.world.maskgit import count_tokens_to_unmask
from ..models.world.networks import transformer
from ..models.world.networks.latent_actions import to_action_vectors
from ..models.world.predictor import Window
from .timing import Call, take_turns

FRAME, PATCH, WIDTH, HEADS, HIDDEN, LATENT, BINS, ACTIONS = 64, 4, 32, 8, 128, 5, 4, 4
DECODING_STEPS = 10

Frame = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def default_world() -> World:
    """Return a world of the original's default sizes with random weights that make every part matter."""
    torch.manual_seed(0)
    shared: dict[str, Any] = {
        "frame_size": FRAME,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "num_heads": HEADS,
        "hidden_dim": HIDDEN,
    }
    world = World(
        VideoTokenizer(TokenizerConfig(**shared, num_blocks=4, latent_dim=LATENT, num_bins=BINS)),
        LatentActionModel(LatentActionsConfig(**shared, num_blocks=2, n_actions=ACTIONS)),
        DynamicsModel(DynamicsConfig(**shared, num_blocks=8, latent_dim=LATENT, num_bins=BINS, action_dim=2)),
    )
    for name, parameter in world.named_parameters():
        if name.endswith("weight") and parameter.ndim >= 2:
            parameter.data.mul_(2.0)
    return world


def ours(world: World) -> Frame:
    """Return the package's own step: window (b, w, 3, S, S) and actions (b, w) to the next frame and its tokens."""

    def frame(window: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        config = RolloutConfig(context_window=window.shape[1], maskgit_steps=DECODING_STEPS, clamp=False)
        prediction = world.make_predictor(config).predict(Window(window), actions, [])
        return prediction.frames, prediction.tokens

    return frame


def original(world: World, path: Path) -> Frame:
    """Return the body of the original's inference loop with the same weights."""
    sys.path.insert(0, str(path))
    from models.dynamics import DynamicsModel as TheirDynamics
    from models.video_tokenizer import VideoTokenizer as TheirTokenizer

    sys.path.pop(0)
    sizes = {"frame_size": (FRAME, FRAME), "patch_size": PATCH, "embed_dim": WIDTH, "num_heads": HEADS}
    codes = {"hidden_dim": HIDDEN, "latent_dim": LATENT, "num_bins": BINS}
    tokenizer = TheirTokenizer(**sizes, **codes, num_blocks=4).eval()
    dynamics = TheirDynamics(**sizes, **codes, num_blocks=8, n_actions=ACTIONS, conditioning_dim=2).eval()
    tokenizer.load_state_dict(world.tokenizer.state_dict())
    dynamics.load_state_dict(world.dynamics.state_dict())
    table = tokenizer.quantizer.get_latents_from_indices

    def frame(window: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        latents = dynamics.forward_inference(
            context_latents=table(tokenizer.tokenize(window)),
            prediction_horizon=1,
            num_steps=DECODING_STEPS,
            index_to_latents_fn=table,
            conditioning=to_action_vectors(actions, 2),
            temperature=0.0,
        )
        frames = tokenizer.detokenize(latents)[:, -1:]
        return frames, tokenizer.quantizer.get_indices_from_latents(latents[:, -1:])

    return frame


def plain(world: World) -> Frame:
    """Return the uncached form: the whole window and all its logits in every step, attention scores materialised."""
    tokenizer, dynamics = world.tokenizer, world.dynamics

    def frame(window: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        b, context = window.shape[:2]
        p = dynamics.config.patches
        latents = tokenizer.to_latents(tokenizer.tokenize(window))
        latents = torch.cat([latents, dynamics.mask_token.expand(b, 1, p, -1)], dim=1)
        tokens, masked = torch.zeros(b, p, dtype=torch.int64), torch.ones(b, p, dtype=torch.bool)
        items = torch.arange(b).unsqueeze(1)
        for step in range(DECODING_STEPS):
            probs = dynamics(latents, to_action_vectors(actions, 2)).softmax(-1)[:, -1]
            confidence, best = probs.max(-1)
            count = count_tokens_to_unmask(step, DECODING_STEPS, p, int((~masked[0]).sum()), 5.0)
            positions = confidence.masked_fill(~masked, -1).topk(count).indices
            tokens[items, positions] = best.gather(1, positions)
            latents[items, context, positions] = tokenizer.to_latents(best.gather(1, positions))
            masked[items, positions] = False
        return tokenizer.decode(latents)[:, -1:], tokens.unsqueeze(1)

    def materialised(window: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        kept = transformer.attend_over_patches, transformer.attend_over_time
        transformer.attend_over_patches, transformer.attend_over_time = _patches_in_full, _time_in_full
        try:
            return frame(window, actions)
        finally:
            transformer.attend_over_patches, transformer.attend_over_time = kept

    return materialised


def _in_full(q: Tensor, k: Tensor, v: Tensor, causal: Tensor | None) -> Tensor:
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return (scores if causal is None else scores.masked_fill(~causal, float("-inf"))).softmax(-1) @ v


def _patches_in_full(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (rearrange(x, "b t p (h d) -> b t h p d", h=heads) for x in (q, k, v))
    return rearrange(_in_full(q, k, v, None), "b t h p d -> b t p (h d)")


def _time_in_full(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (rearrange(x, "b t p (h d) -> b p h t d", h=heads) for x in (q, k, v))
    causal = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
    return rearrange(_in_full(q, k, v, causal), "b p h t d -> b t p (h d)")


def describe_pair(first: Callable[[], object], second: Callable[[], object], rounds: int) -> str:
    """Time two calls in turn and describe the medians and the median of their ratios."""
    found = take_turns({"first": Call(first), "second": Call(second)}, rounds, warm_up=1)
    left, right = (1e3 * found.median(name).wall for name in ("first", "second"))
    ratio = found.ratio("first", to="second")
    return f"{left:8.1f} ms {right:8.1f} ms   {ratio.wall:5.2f}x wall   {ratio.cpu:5.2f}x processor time"


def growth_of_memory(world: World, frames: int) -> str:
    """Return the tensor bytes alive early, halfway and at the end of a rollout, without its frames and tokens."""
    sizes: dict[int, int] = {}
    watched = (frames // 10, frames // 2, frames - 1)

    def look(progress: RolloutProgress) -> None:
        if progress.step in watched and progress.finished is not None:
            gc.collect()
            alive = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors()}
            tokens = (progress.step + 1) * world.dynamics.config.patches * 8
            sizes[progress.step] = sum(alive.values()) - tokens

    context = torch.rand(1, 2, 3, FRAME, FRAME) * 2 - 1
    rollout(world, context, steps=frames, maskgit_steps=1, on_progress=look)
    result = frames * 3 * FRAME * FRAME * 4
    lines = [f"frame {step + 1}: {(size - result) / 2**20:.2f} MiB" for step, size in sizes.items()]
    return f"alive above the result ({result / 2**20:.0f} MiB) at " + ", ".join(lines)


def _tensors() -> list[Tensor]:
    return [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]


@torch.no_grad()
def main() -> None:
    """Time both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tinyworlds", type=Path, help="a checkout of AlmondGod/tinyworlds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=1000, help="length of the rollout whose memory is watched")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    world = default_world()
    other = plain(world) if options.tinyworlds is None else original(world, options.tinyworlds)
    mine = ours(world)
    name = "plain form" if options.tinyworlds is None else "TinyWorlds"
    for context in (2, 4):
        window = torch.rand(1, context, 3, FRAME, FRAME) * 2 - 1
        actions = torch.randint(0, ACTIONS, (1, context))
        theirs, our = other(window, actions), mine(window, actions)
        same = torch.equal(theirs[1], our[1])
        apart = (theirs[0] - our[0]).abs().max().item()
        line = describe_pair(lambda: other(window, actions), lambda: mine(window, actions), options.rounds)  # noqa: B023
        print(f"context {context}: {name} / ours {line}   tokens equal: {same}, frames within {apart:.0e}")
    one = torch.rand(1, 2, 3, FRAME, FRAME) * 2 - 1
    eight = torch.rand(8, 2, 3, FRAME, FRAME) * 2 - 1
    line = describe_pair(
        lambda: rollout(world, eight, steps=2, actions="random"),
        lambda: rollout(world, one, steps=2, actions="random"),
        options.rounds,
    )
    print(f"batch of 8 / one, 2 frames  {line}")
    print(growth_of_memory(world, options.frames))


if __name__ == "__main__":
    main()
