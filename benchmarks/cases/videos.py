"""Short videos through the Wan VAE."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..bench import Bench, Case, make_noise, measure_distance
from ..codecs import ACTIONS, build_codec, import_codec, list_codecs, make_calls, write_weights
from ..peers import COMFYUI, DIFFUSERS, OFFICIAL, Peers
from ..processes import measure_in_process
from ..records import OURS, Entry, Figure, Outcome, Row, Spread
from ..timing import Call
from .images import judge, measure_clamped

__all__ = ["CASES", "prepare_decode"]

SECTION = "Wan 2.1 VAE, a video"
SIZE, FRAMES, LEAST = 128, 17, 1.2
LONGER_LATENT = (9, 30, 52)
"""33 frames of 240x416."""
MOST_MEMORY, LEAST_FASTER = 0.6, 1.3
"""Of ComfyUI's peak, and how many times faster, for the longer video."""


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


def import_parts(peers: Peers, name: str, *_: Any) -> None:
    """Import an implementation, before the clock of its process starts."""
    import_codec(name, peers)


def prepare_decode(peers: Peers, name: str, path: str, frames: int, height: int, width: int) -> Call[Any]:
    """Load a VAE and return one decode of a latent of this size; for a process of its own."""
    decode = build_codec(name, Path(path), peers).decode
    return Call(partial(decode, make_noise(1, 16, frames, height, width)))


def measure_longer(bench: Bench) -> Outcome:
    """Measure seconds and peak of a decode, each implementation in a process of its own."""
    latent = (2, 2, 3) if bench.is_quick else LONGER_LATENT
    what = f"decode {8 * latent[1]}x{8 * latent[2]}, {4 * latent[0] - 3} frames"
    path, threads = str(write_weights(bench)), torch.get_num_threads()
    found = {
        name: measure_in_process("cases.videos:prepare_decode", (name, path, *latent), bench.peers, threads)
        for name in list_codecs(bench.peers, (OURS, COMFYUI))
    }
    ours = found[OURS]
    entries = tuple(
        Entry(
            name,
            wall=one["run"],
            ratio=Spread.of([one["run"] / ours["run"]]) if name != OURS else None,
            peak=one["peak"],
        )
        for name, one in found.items()
    )
    figures: tuple[Figure, ...] = ()
    if COMFYUI in found:
        theirs = found[COMFYUI]
        figures = (
            Figure(f"peak of {what}, ours / ComfyUI's", ours["peak"] / theirs["peak"], most=MOST_MEMORY),
            Figure(f"{what}, ComfyUI / ours", theirs["run"] / ours["run"], least=LEAST_FASTER),
        )
    return bench.conclude(rows=(Row(what, entries, count=1),), figures=figures)


CASES = [
    *(Case(f"video-{action}", SECTION, partial(measure, action=action)) for action in ACTIONS),
    Case("video-longer", SECTION, measure_longer),
]
