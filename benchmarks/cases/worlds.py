"""One generated frame of a world at the original's default sizes: the same weights, window and frame on both sides."""

from __future__ import annotations

import gc
from functools import partial

import torch
from torch import Tensor

from ...models.world import RolloutConfig, RolloutProgress, World, rollout
from ...models.world.networks.latent_actions import to_action_vectors
from ...models.world.predictor import Window
from ..bench import Bench, Case, measure_distance
from ..peers import TINYWORLDS, importing_from
from ..records import OURS, Figure, Outcome
from ..timing import Call
from ..worlds import ACTIONS, BINS, FRAME, HEADS, HIDDEN, LATENT, PATCH, WIDTH, make_world

__all__ = ["CASES"]

SECTION = "World, one frame"
QUICK_FRAME = 16
DECODING_STEPS = 10
CONTEXTS, BATCHES = (2, 4, 8), (1, 8)
LEAST = {(2, 1): 3.0, (4, 1): 5.0}
"""Context and batch -> how many times faster than the original."""
MOST_FOR_EIGHT = 5.0

Frame = tuple[Tensor, Tensor]
"""(b, 1, 3, S, S) pixels, and their tokens."""


def call_ours(world: World, window: Tensor, actions: Tensor) -> Call[Frame]:
    """Return the package's own step."""

    def run() -> Frame:
        config = RolloutConfig(context_window=window.shape[1], maskgit_steps=DECODING_STEPS, clamp=False)
        prediction = world.make_predictor(config).predict(Window(window), actions, [])
        return prediction.frames, prediction.tokens

    return Call(run)


def call_original(bench: Bench, world: World, window: Tensor, actions: Tensor) -> Call[Frame]:
    """Return the body of the original's inference loop with the same weights."""
    assert bench.peers.tinyworlds is not None
    with importing_from(bench.peers.tinyworlds):
        from models.dynamics import DynamicsModel as TheirDynamics
        from models.video_tokenizer import VideoTokenizer as TheirTokenizer
    side = window.shape[-1]
    sizes = {"frame_size": (side, side), "patch_size": PATCH, "embed_dim": WIDTH, "num_heads": HEADS}
    codes = {"hidden_dim": HIDDEN, "latent_dim": LATENT, "num_bins": BINS}
    tokenizer = TheirTokenizer(**sizes, **codes, num_blocks=4).eval()
    dynamics = TheirDynamics(**sizes, **codes, num_blocks=8, n_actions=ACTIONS, conditioning_dim=2).eval()
    tokenizer.load_state_dict(world.tokenizer.state_dict())
    dynamics.load_state_dict(world.dynamics.state_dict())
    table = tokenizer.quantizer.get_latents_from_indices

    def run() -> Frame:
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

    return Call(run)


def measure_frame(bench: Bench, context: int, batch: int) -> Outcome:
    """Time one frame."""
    side = QUICK_FRAME if bench.is_quick else FRAME
    world = make_world(side)
    window, actions = _make_window(context, batch, side)
    calls = {OURS: call_ours(world, window, actions)}
    if bench.peers.tinyworlds:
        calls[TINYWORLDS] = call_original(bench, world, window, actions)
    what = f"context {context}, batch {batch}"
    row = bench.compare(what, calls, reference=TINYWORLDS, distance=measure_frames)
    ratio, least = row.entries[-1].times_slower, LEAST.get((context, batch))
    figures = (Figure(f"{what}, {TINYWORLDS} / {OURS}", ratio, least=least),) if ratio and least else ()
    return bench.conclude(rows=(row,), figures=figures)


def measure_frames(result: Frame, reference: Frame) -> float:
    """Return the largest difference of the frames; tokens that differ are no small difference.

    Raises:
        ValueError: The tokens are not the same.
    """
    if not torch.equal(result[1], reference[1]):
        count = int((result[1] != reference[1]).sum())
        raise ValueError(f"{count} of {result[1].numel()} tokens differ from the original's; the two did other work.")
    return measure_distance(result[0], reference[0])


def measure_rollouts(bench: Bench) -> Outcome:
    """Time eight rollouts in a batch beside one, and watch the memory of a long one."""
    side, frames = (QUICK_FRAME, 20) if bench.is_quick else (FRAME, 1000)
    world = make_world(side)
    one, eight = (_make_window(2, batch, side)[0] for batch in (1, 8))
    calls = {
        "one rollout": Call(partial(rollout, world, one, steps=2, actions="random")),
        "eight in a batch": Call(partial(rollout, world, eight, steps=2, actions="random")),
    }
    row = bench.compare("two frames", calls)
    ratio = row.entries[-1].most_times_slower
    assert ratio is not None
    early, late = measure_growth(world, side, frames)
    figures = (
        Figure("eight rollouts in a batch / one", ratio, most=MOST_FOR_EIGHT),
        Figure(f"memory of a rollout beside its frames, at frame {frames // 10}", early, "MiB"),
        Figure(f"the same at frame {frames}", late, "MiB", most=1.05 * early),
    )
    return bench.conclude(rows=(row,), figures=figures)


def measure_growth(world: World, side: int, frames: int) -> tuple[float, float]:
    """Return the MiB of tensors alive early and at the end of a rollout, without its frames and tokens."""
    sizes: dict[int, float] = {}
    watched = (frames // 10, frames - 1)
    result = frames * 3 * side * side * 4

    def look(progress: RolloutProgress) -> None:
        if progress.step in watched and progress.finished is not None:
            gc.collect()
            alive = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _list_tensors()}
            tokens = (progress.step + 1) * world.dynamics.config.patches * 8
            sizes[progress.step] = (sum(alive.values()) - tokens - result) / 2**20

    with torch.inference_mode():
        rollout(world, _make_window(2, 1, side)[0], steps=frames, maskgit_steps=1, on_progress=look)
    return sizes[watched[0]], sizes[watched[1]]


def _make_window(context: int, batch: int, side: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    window = torch.rand(batch, context, 3, side, side, generator=draw) * 2 - 1
    return window, torch.randint(0, ACTIONS, (batch, context), generator=draw)


def _list_tensors() -> list[Tensor]:
    return [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]


CASES = [
    *(
        Case(f"world-{context}-{batch}", SECTION, partial(measure_frame, context=context, batch=batch))
        for context in CONTEXTS
        for batch in BATCHES
    ),
    Case("world-rollouts", SECTION, measure_rollouts),
]
