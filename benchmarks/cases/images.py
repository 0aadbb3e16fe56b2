"""One image through the Wan VAE, at three sizes: full width, random weights, the same in every implementation."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ..bench import Bench, Case, measure_distance
from ..codecs import ACTIONS, OURS_BF16, build_codec, list_codecs, make_calls, write_weights
from ..peers import COMFYUI, DIFFUSERS, OFFICIAL
from ..records import OURS, Figure, Outcome, Row

__all__ = ["CASES"]

SECTION = "Wan 2.1 VAE, one image"
SIZES = (512, 1024, 2048)
ALL = (OURS, OURS_BF16, COMFYUI, OFFICIAL, DIFFUSERS)
WANTED = {512: ALL, 1024: ALL[:3], 2048: (OURS, COMFYUI)}
"""The slowest are left out where one round of them takes minutes."""
LEAST = {512: 3.4}
"""How many times faster than ComfyUI's own an image of this size should be."""


def measure(bench: Bench, action: str, size: int) -> Outcome:
    """Time one direction at one size."""
    path = write_weights(bench)
    names = list_codecs(bench.peers, WANTED[size])
    codecs = {name: build_codec(name, path, bench.peers) for name in names}
    side = size // 16 if bench.is_quick else size
    reference = OFFICIAL if OFFICIAL in names else COMFYUI
    distance = measure_clamped if action == "decode" else measure_distance
    row = bench.compare(
        f"{action} {side}x{side}", make_calls(codecs, action, side), reference=reference, distance=distance
    )
    return bench.conclude(rows=(row,), figures=tuple(judge(row, LEAST.get(size))))


def judge(row: Row, least: float | None) -> list[Figure]:
    """Return the figure that has a target: how many times faster than ComfyUI's own."""
    found = {entry.who: entry.times_slower for entry in row.entries}
    ratio = found.get(COMFYUI)
    return [] if ratio is None or least is None else [Figure(f"{row.what}, {COMFYUI} / {OURS}", ratio, least=least)]


def measure_clamped(result: Tensor, reference: Tensor) -> float:
    """Return the largest difference of two images as they are shown: diffusers clamps them."""
    return measure_distance(result.clamp(-1, 1), reference.clamp(-1, 1))


CASES = [
    Case(f"image-{action}-{size}", SECTION, partial(measure, action=action, size=size))
    for size in SIZES
    for action in ACTIONS
]
