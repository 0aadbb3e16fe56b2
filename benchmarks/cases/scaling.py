"""Cost against size: what a decode takes as its image grows, and how much of that is the one attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bench import Bench, Case, make_noise
from ..codecs import ACTIONS, build_codec, make_calls, write_weights
from ..records import OURS, Figure, Outcome
from ..timing import Call, take_turns

__all__ = ["CASES", "fit_slope", "fit_terms"]

SECTION = "Cost against size"
SIZES, QUICK_SIZES = (512, 768, 1024, 2048), (16, 32, 48)
SLOPE = 1.0
TOLERANCE = 0.05
ATTENTION_ROUNDS = 3
CHANNELS = 384
"""Of the attention in the middle of the VAE, which has one head."""


def measure_codec(bench: Bench, action: str) -> Outcome:
    """Time one direction at growing sizes, and fit a N + b N^2 to the processors' time (N: cells of the latent).

    The slope that has limits leaves out the attention as it was timed alone, and not the fit's own b N^2: a fit takes
    whatever bends the line into its square.
    """
    codec = build_codec(OURS, write_weights(bench), bench.peers)
    sizes = QUICK_SIZES if bench.is_quick else SIZES
    seconds = {}
    for size in sizes:
        calls = make_calls({OURS: codec}, action, size)
        found = take_turns(calls, bench.rounds, warm_up=1, seconds_left=bench.seconds / len(sizes))
        seconds[(size // 8) ** 2] = found.median(OURS).cpu
    linear, square = fit_terms(seconds)
    alone = measure_attention((sizes[len(sizes) // 2] // 8) ** 2)
    beside = {cells: one - alone * cells**2 for cells, one in seconds.items()}
    figures = (
        Figure(f"{action}, log-log slope of the time over the pixels", fit_slope(seconds)),
        Figure(
            f"{action}, the same without the attention",
            fit_slope(beside),
            least=SLOPE - TOLERANCE,
            most=SLOPE + TOLERANCE,
        ),
        Figure(f"{action}, a of a N + b N^2", 1e6 * linear, "us a latent cell"),
        Figure(f"{action}, b of a N + b N^2", 1e12 * square, "ps a pair of cells"),
        Figure(f"{action}, the attention timed alone", 1e12 * alone, "ps a pair of cells"),
        Figure(f"{action}, largest deviation from the fit", _measure_deviation(seconds, linear, square), "of the time"),
    )
    points = {action: _to_points(seconds), f"{action} without the attention": _to_points(beside)}
    return bench.conclude(figures=figures, points=points, settings={"sizes": list(sizes)})


def fit_slope(seconds: Mapping[int, float]) -> float:
    """Return the slope of log(seconds) over log(size) by least squares."""
    x, y = ([math.log(max(value, 1e-12)) for value in values] for values in (seconds.keys(), seconds.values()))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def fit_terms(seconds: Mapping[int, float]) -> tuple[float, float]:
    """Return a and b, not negative, of ``seconds = a N + b N^2`` with the least squares of relative deviations."""
    sizes = torch.tensor(list(seconds), dtype=torch.float64)
    wanted = torch.tensor(list(seconds.values()), dtype=torch.float64)
    terms = torch.stack([sizes, sizes**2], dim=1) / wanted[:, None]
    linear, square = torch.linalg.lstsq(terms, torch.ones(len(sizes), 1, dtype=torch.float64)).solution[:, 0].tolist()
    if square < 0 or linear < 0:
        alone = (terms.sum(0) / (terms**2).sum(0)).tolist()
        return (alone[0], 0.0) if square < 0 else (0.0, alone[1])
    return linear, square


def measure_attention(cells: int) -> float:
    """Return the processors' seconds that the one attention takes for a pair of cells, timed alone."""
    found = take_turns({"attention": Call(make_attention(cells))}, ATTENTION_ROUNDS, warm_up=1)
    return found.median("attention").cpu / cells**2


def make_attention(cells: int) -> Callable[[], Tensor]:
    """Return the one attention over a latent of this many cells."""
    q = make_noise(1, cells, CHANNELS)

    def attend() -> Tensor:
        return F.scaled_dot_product_attention(q, q, q)

    return attend


def _measure_deviation(seconds: Mapping[int, float], linear: float, square: float) -> float:
    return max(abs(1 - (linear * cells + square * cells**2) / one) for cells, one in seconds.items())


def _to_points(seconds: Mapping[int, float]) -> list[tuple[float, float]]:
    """Return (log2 of the pixels' side, seconds)."""
    return [(math.log2(8 * cells**0.5), one) for cells, one in seconds.items()]


CASES = [Case(f"scaling-{action}", SECTION, partial(measure_codec, action=action)) for action in ACTIONS]
