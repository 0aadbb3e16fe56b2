"""A short video through the Wan VAE."""

from __future__ import annotations

from functools import partial

from ..bench import Bench, Case, measure_distance
from ..codecs import ACTIONS, build_codec, list_codecs, make_calls, write_weights
from ..peers import COMFYUI, DIFFUSERS, OFFICIAL
from ..records import OURS, Outcome
from .images import judge, measure_clamped

__all__ = ["CASES"]

SECTION = "Wan 2.1 VAE, a video"
SIZE, FRAMES, LEAST = 128, 17, 1.2


def measure(bench: Bench, action: str) -> Outcome:
    """Time one direction."""
    path = write_weights(bench)
    names = list_codecs(bench.peers, (OURS, COMFYUI, OFFICIAL, DIFFUSERS))
    codecs = {name: build_codec(name, path, bench.peers) for name in names}
    side, frames = (16, 5) if bench.is_quick else (SIZE, FRAMES)
    row = bench.compare(
        f"{action} {side}x{side}, {frames} frames",
        make_calls(codecs, action, side, frames),
        reference=OFFICIAL if OFFICIAL in names else COMFYUI,
        distance=measure_clamped if action == "decode" else measure_distance,
    )
    return bench.conclude(rows=(row,), figures=tuple(judge(row, LEAST)))


CASES = [Case(f"video-{action}", SECTION, partial(measure, action=action)) for action in ACTIONS]
