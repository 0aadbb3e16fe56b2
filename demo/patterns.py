"""A procedural image set that a network without position embeddings can learn: colour x repeated pattern.

Every image is one saturated colour on a dark ground, in a pattern that repeats every 8 pixels. That is the width of
one latent cell, so an image's cells are all alike: nothing in it has to be *placed*, and attention over a bag of cells
can agree on the phase. (With a period of 16 neighbouring cells differ, only the 3x3 convolutions could tell them apart,
and a student of this size got 4 of 10 such images wrong.) Phase, line width, dot size and the exact colours are
random within a class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Generator, Tensor

from ..pipeline.pictures.convert import to_signed

__all__ = [
    "COLOURS",
    "GROUND",
    "PATTERNS",
    "PERIOD",
    "SIZE",
    "Batch",
    "draw",
    "draw_mask",
    "list_captions",
    "make_caption",
]

SIZE = 64  # pixels a side: an 8x8 latent of the Wan 2.1 VAE
PERIOD = 8  # pixels: one cell of that latent
COLOURS: dict[str, tuple[float, float, float]] = {  # RGB in [0, 1]
    "red": (0.92, 0.16, 0.16),
    "green": (0.16, 0.78, 0.24),
    "blue": (0.18, 0.34, 0.96),
    "yellow": (0.96, 0.86, 0.16),
    "purple": (0.66, 0.22, 0.88),
    "cyan": (0.16, 0.84, 0.90),
}
GROUND = (0.10, 0.10, 0.13)
COLOUR_JITTER = 0.05  # uniform, each way, each channel
GROUND_JITTER = 0.03
GRAIN = 0.03  # standard deviation of the grain of plain images, in [0, 1] units


def _draw_stripes(x: Tensor, y: Tensor, period: Tensor, width: Tensor) -> Tensor:
    return _draw_edge(width * period / 2 - _measure_distance(y, period))


def _draw_upright(x: Tensor, y: Tensor, period: Tensor, width: Tensor) -> Tensor:
    return _draw_stripes(y, x, period, width)


def _draw_diagonal(x: Tensor, y: Tensor, period: Tensor, width: Tensor) -> Tensor:
    # Along x + y the line is sqrt(2) times as wide as across it.
    return _draw_edge((width * period / 2 - _measure_distance(x + y, period)) / math.sqrt(2))


def _draw_dots(x: Tensor, y: Tensor, period: Tensor, width: Tensor) -> Tensor:
    return _draw_edge(0.64 * width * period - torch.hypot(_measure_distance(x, period), _measure_distance(y, period)))


def _draw_grid(x: Tensor, y: Tensor, period: Tensor, width: Tensor) -> Tensor:
    across, down = (_draw_edge(0.3 * width * period - _measure_distance(place, period)) for place in (x, y))
    return torch.maximum(across, down)


def _draw_plain(x: Tensor, y: Tensor, period: Tensor, width: Tensor) -> Tensor:
    return torch.ones_like(x + period)


def _measure_distance(x: Tensor, period: Tensor) -> Tensor:
    """Return the distance in pixels to the nearest multiple of the period."""
    return (torch.remainder(x / period + 0.5, 1.0) - 0.5).abs() * period


def _draw_edge(inside: Tensor) -> Tensor:
    """Return a ramp of two pixels across the edge of a shape, so that a phase between two pixels shows."""
    return (inside / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Pattern:
    """One repeated pattern: how it is drawn, and its words around the colour."""

    draw: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    phrase: str


PATTERNS: dict[str, Pattern] = {
    "horizontal stripes": Pattern(_draw_stripes, "{} horizontal stripes"),
    "vertical stripes": Pattern(_draw_upright, "{} vertical stripes"),
    "diagonal stripes": Pattern(_draw_diagonal, "diagonal {} stripes"),
    "dots": Pattern(_draw_dots, "{} dots"),
    "grid": Pattern(_draw_grid, "a grid of {} lines"),
    "plain": Pattern(_draw_plain, "plain {} with grain"),
}
WIDTHS = (0.35, 0.65)  # share of a period that a stripe covers; dots and grid lines follow it in proportion


@dataclass(frozen=True)
class Batch:
    """Images ``(b, 3, 64, 64)`` in [-1, 1] and the indices of their colour and pattern, each ``(b,)``."""

    pixels: Tensor
    colour: Tensor
    pattern: Tensor


def make_caption(colour: int, pattern: int) -> str:
    """Return the caption of one class, for example ``"a grid of red lines"``."""
    return list(PATTERNS.values())[pattern].phrase.format(list(COLOURS)[colour])


def list_captions() -> list[str]:
    """Return all captions, pattern by pattern: class ``pattern * len(COLOURS) + colour``."""
    return [make_caption(c, p) for p in range(len(PATTERNS)) for c in range(len(COLOURS))]


def draw_mask(pattern: int, width: Tensor, shift_x: Tensor, shift_y: Tensor, size: int = SIZE) -> Tensor:
    """Draw the share of colour in each pixel, 0 (ground) to 1 (colour).

    Shapes: Every argument ``(b,)``; returns ``(b, size, size)``. Width in shares of a period, shifts in pixels.
    """
    line = torch.arange(size, dtype=torch.float32) + 0.5
    x = rearrange(line, "w -> 1 1 w") + rearrange(shift_x, "b -> b 1 1")
    y = rearrange(line, "h -> 1 h 1") + rearrange(shift_y, "b -> b 1 1")
    x, y = torch.broadcast_tensors(x, y)
    period = torch.full((1, 1, 1), float(PERIOD))
    return list(PATTERNS.values())[pattern].draw(x, y, period, width[:, None, None])


def draw(classes: Tensor, generator: Generator) -> Batch:
    """Draw one image for each class index.

    Args:
        classes: ``(b,)``, as :func:`list_captions` counts them.
        generator: All randomness comes from it.
    """
    pattern, colour = classes // len(COLOURS), classes % len(COLOURS)
    masks = torch.empty(len(classes), SIZE, SIZE)
    for index in range(len(PATTERNS)):
        rows = (pattern == index).nonzero().flatten()
        if len(rows):
            masks[rows] = _draw_masks(index, len(rows), generator)
    palette = torch.tensor(list(COLOURS.values()))
    front = palette[colour] + _draw_uniform((len(classes), 3), -COLOUR_JITTER, COLOUR_JITTER, generator)
    ground = torch.tensor(GROUND) + _draw_uniform((len(classes), 3), -GROUND_JITTER, GROUND_JITTER, generator)
    mask = rearrange(masks, "b h w -> b 1 h w")
    pixels = ground[:, :, None, None] * (1 - mask) + front[:, :, None, None] * mask
    grain = GRAIN * torch.randn(len(classes), 1, SIZE, SIZE, generator=generator)
    grainy = (pattern == list(PATTERNS).index("plain"))[:, None, None, None]
    return Batch(to_signed(pixels + grain * grainy).clamp(-1, 1), colour, pattern)


def _draw_masks(index: int, count: int, generator: Generator) -> Tensor:
    width = _draw_uniform((count,), *WIDTHS, generator)
    shift = _draw_uniform((2, count), 0, PERIOD, generator)
    return draw_mask(index, width, shift[0], shift[1])


def _draw_uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
