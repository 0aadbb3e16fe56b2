"""Load time and peak memory, each in a process of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..bench import Bench, Case
from ..codecs import OURS_BF16, build_codec, import_codec, list_codecs, make_calls, write_weights
from ..peers import COMFYUI, DIFFUSERS, OFFICIAL, Peers
from ..processes import measure_in_process
from ..records import OURS, Entry, Figure, Outcome, Row, Spread
from ..timing import Call

__all__ = ["CASES", "prepare_codec"]

SECTION = "Loading, and peak memory above the loaded weights"
MOST_FLAT = 1.15
"""How many times the memory of a decode of 2048x2048 one of 4096x4096 may take, its image not counted."""


def import_parts(peers: Peers, name: str, *_: Any) -> None:
    """Import an implementation, before the clock of its process starts."""
    import_codec(name, peers)


def prepare_codec(peers: Peers, name: str, path: str, action: str, size: int, with_attention: bool = True) -> Call[Any]:
    """Load a VAE and return one run of it.

    Args:
        peers: The programs beside us.
        name: The implementation.
        path: Of the weights.
        action: decode or encode.
        size: Of the image.
        with_attention: False leaves the arithmetic of the one attention out, which takes most of an hour at 4096x4096;
            its inputs and its output are there as ever.
    """
    if not with_attention:
        F.scaled_dot_product_attention = lambda q, k, v, **_: torch.empty_like(q).copy_(v)
    return make_calls({name: build_codec(name, Path(path), peers)}, action, size)[name]


def measure_codecs(bench: Bench, action: str) -> Outcome:
    """Measure loading and the peak of one direction for every implementation at 512x512."""
    size = 32 if bench.is_quick else 512
    wanted = (OURS,) if bench.is_quick else (OURS, OURS_BF16, COMFYUI, OFFICIAL, DIFFUSERS)
    names = list_codecs(bench.peers, wanted)
    found = {name: _measure(bench, name, action, size) for name in names}
    first = found[OURS]["prepare"]
    loading = tuple(_describe_loading(name, one, first) for name, one in found.items())
    peaks = tuple(Entry(name, peak=one["peak"]) for name, one in found.items())
    rows = [Row(f"peak of {action} {size}x{size}", peaks, count=1)]
    rows += [Row("load the VAE's file, and memory that it takes", loading, count=1)] if action == "decode" else []
    return bench.conclude(rows=tuple(rows))


def measure_large(bench: Bench) -> Outcome:
    """Measure our peak from 512x512 to 4096x4096, the last without the arithmetic of its attention."""
    sizes = (16, 32) if bench.is_quick else (512, 1024, 2048, 4096)
    peaks = {size: _measure(bench, OURS, "decode", size, size < sizes[-1])["peak"] for size in sizes}
    rows = tuple(
        Row(f"peak of decode {size}x{size}", (Entry(OURS, peak=peak),), count=1) for size, peak in peaks.items()
    )
    beside = {size: peak - _count_image(size) for size, peak in peaks.items()}
    ratio = beside[sizes[-1]] / max(beside[sizes[-2]], 1.0)
    what = f"peak of decode {sizes[-1]} / {sizes[-2]}, the image itself not counted"
    return bench.conclude(rows=rows, figures=(Figure(what, ratio, most=MOST_FLAT),))


def _measure(bench: Bench, name: str, action: str, size: int, with_attention: bool = True) -> dict[str, float]:
    path = str(write_weights(bench))
    if name == DIFFUSERS:  # its folder is written once, and not in the process that is measured
        build_codec(name, Path(path), bench.peers)
    arguments = (name, path, action, size, with_attention)
    return measure_in_process("cases.memory:prepare_codec", arguments, bench.peers, torch.get_num_threads())


def _describe_loading(name: str, found: dict[str, float], first: float) -> Entry:
    ratio = None if name == OURS else Spread.of([found["prepare"] / first])
    return Entry(name, wall=found["prepare"], ratio=ratio, peak=found["loaded"])


def _count_image(size: int) -> float:
    """Return the MB of the decoded image in float32."""
    return 3 * 4 * size**2 / 2**20


CASES = [
    Case("memory-decode", SECTION, partial(measure_codecs, action="decode")),
    Case("memory-encode", SECTION, partial(measure_codecs, action="encode")),
    Case("memory-large", SECTION, measure_large),
]
