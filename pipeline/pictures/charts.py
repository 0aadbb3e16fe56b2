"""Small pictures of results: a line chart with a legend, and a grid of labelled images. Drawn with Pillow only."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...atomic import replacing

__all__ = ["Axes", "image_grid", "line_chart", "save_picture", "to_pil", "to_tensor"]

BACKGROUND, INK, FAINT, GREY = (255, 255, 255), (32, 32, 32), (226, 226, 226), (110, 110, 110)
# Distinct for readers with any colour vision (Okabe and Ito), and again by dash where there are more.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0))
_TEXT, _TITLE, _PAD, _TICKS = 13, 15, 10, 5
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Axes:
    """What a chart says around its lines. ``log`` draws y on a logarithmic axis; ``size`` is (width, height)."""

    title: str = ""
    x: str = ""
    y: str = ""
    log: bool = False
    size: tuple[int, int] = (720, 400)


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], axes: Axes | None = None) -> Image.Image:
    """Draw one line for each entry of ``series``, a sequence of (x, y), with a legend of the names below.

    Points that are not finite (or, on a log axis, not above 0) break the line. An empty chart says so.
    """
    axes = axes or Axes()
    font, legend = _font(_TEXT), _legend_rows(list(series), axes.size[0])
    image = Image.new("RGB", (axes.size[0], axes.size[1] + len(legend) * (_TEXT + 8)), BACKGROUND)
    draw = ImageDraw.Draw(image)
    lines = {name: [point for point in points if _drawable(point, axes.log)] for name, points in series.items()}
    points = [point for line in lines.values() for point in line]
    draw.text((_PAD, _PAD - 2), axes.title, INK, _font(_TITLE))
    if points:
        frame = _Frame.around(points, axes)
        frame.draw(draw, axes, font)
        for number, name in enumerate(series):
            for run in _runs(series[name], axes.log):
                _line(draw, [frame.place(point) for point in run], number)
    else:
        draw.text((_PAD, axes.size[1] // 2), "nothing to draw", GREY, font)
    _draw_legend(draw, legend, axes.size[1], font)
    return image


def image_grid(
    images: Sequence[tuple[str, Image.Image]], *, columns: int = 0, title: str = "", cell: int = 256
) -> Image.Image:
    """Lay out (label, picture) pairs in rows, each label above its picture.

    Args:
        columns: pictures in a row; 0 makes the grid about square. cell: the longer side of a picture on the grid;
            pictures are enlarged with hard pixels and reduced smoothly.

    Raises:
        ValueError: there are no images.
    """
    if not images:
        raise ValueError("images is empty; give at least one labelled picture.")
    columns = columns or math.ceil(math.sqrt(len(images)))
    font, line = _font(_TEXT), _TEXT + 5
    labels = [_wrapped(label, font, cell) for label, _ in images]
    fitted = [_fitted(picture, cell) for _, picture in images]
    label_height = line * max(len(label) for label in labels)
    picture_height = max(picture.height for picture in fitted)
    top = _PAD + (_TITLE + 10 if title else 0)
    rows = math.ceil(len(images) / columns)
    step_x, step_y = cell + _PAD, label_height + picture_height + _PAD
    grid = Image.new("RGB", (_PAD + columns * step_x, top + rows * step_y), BACKGROUND)
    draw = ImageDraw.Draw(grid)
    draw.text((_PAD, _PAD - 2), title, INK, _font(_TITLE))
    for number, (label, picture) in enumerate(zip(labels, fitted, strict=True)):
        x, y = _PAD + number % columns * step_x, top + number // columns * step_y
        draw.multiline_text((x, y), "\n".join(label), INK, font, spacing=3)
        grid.paste(picture, (x, y + label_height))
    return grid


def to_pil(image: Tensor) -> Image.Image:
    """Convert (H, W, 3) in [0, 1] to a picture."""
    return Image.fromarray((image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def to_tensor(image: Image.Image) -> Tensor:
    """Convert a picture to (H, W, 3) float32 in [0, 1], what the host calls IMAGE (without the batch)."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0)


def save_picture(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture whole or not at all; the ending says how.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as part:
        image.save(part)


# Chart parts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """The rectangle of the plot in pixels (left, top, right, bottom) and the ranges that it shows."""

    box: tuple[int, int, int, int]
    x: tuple[float, float]
    y: tuple[float, float]
    log: bool

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], axes: Axes) -> _Frame:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        box = (64, _TITLE + 2 * _PAD, axes.size[0] - 16, axes.size[1] - 46)
        return cls(box, _padded(min(xs), max(xs), 0.0), _span(ys, axes.log), axes.log)

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        left, top, right, bottom = self.box
        y, low, high = (math.log10(v) if self.log else v for v in (point[1], *self.y))
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        return left + across * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    def draw(self, draw: ImageDraw.ImageDraw, axes: Axes, font: Font) -> None:
        left, top, right, bottom = self.box
        for value in _log_ticks(*self.y) if self.log else _ticks(*self.y):
            y = self.place((self.x[0], value))[1]
            draw.line((left, y, right, y), FAINT)
            draw.text((left - 6, y), f"{value:.4g}", GREY, font, anchor="rm")
        for value in _ticks(*self.x):
            x = self.place((value, self.y[0]))[0]
            draw.line((x, bottom, x, bottom + 4), GREY)
            draw.text((x, bottom + 6), f"{value:.4g}", GREY, font, anchor="mt")
        draw.rectangle(self.box, outline=GREY)
        draw.text((right, bottom + 24), axes.x, INK, font, anchor="rt")
        draw.text((right, top - 4), axes.y, INK, font, anchor="rs")


def _span(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if not log:
        return _padded(low, high, 0.05)
    # whole decades make ticks that can be read
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** max(
        math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1
    )


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    if low == high:
        return low - 0.5, high + 0.5
    return low - share * (high - low), high + share * (high - low)


def _ticks(low: float, high: float) -> list[float]:
    """About five round values (1, 2 or 5 times a power of ten) inside the range."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    exponents = range(round(math.log10(low)), round(math.log10(high)) + 1)
    return [10.0**exponent for exponent in exponents[:: max(1, len(exponents) // 6)]]


def _drawable(point: tuple[float, float], log: bool) -> bool:
    return all(map(math.isfinite, point)) and (not log or point[1] > 0)


def _runs(points: Sequence[tuple[float, float]], log: bool) -> list[list[tuple[float, float]]]:
    """Cut a line where points cannot be drawn."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if _drawable(point, log):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], number: int) -> None:
    colour, dashed = COLOURS[number % len(COLOURS)], number // len(COLOURS) % 2
    for n, (start, end) in enumerate(itertools.pairwise(points)):
        if not (dashed and n % 2):
            draw.line((*start, *end), colour, 2)
    for x, y in points if len(points) <= 40 else points[-1:]:
        draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour)


def _legend_rows(names: Sequence[str], width: int) -> list[list[tuple[int, int, str]]]:
    """Rows of (number, x, name) that fit the width."""
    font, x = _font(_TEXT), _PAD
    rows: list[list[tuple[int, int, str]]] = [[]]
    for number, name in enumerate(names):
        needed = 34 + round(font.getlength(name))
        if rows[-1] and x + needed > width:
            rows, x = [*rows, []], _PAD
        rows[-1].append((number, x, name))
        x += needed + _PAD
    return rows if names else []


def _draw_legend(
    draw: ImageDraw.ImageDraw, rows: Sequence[Sequence[tuple[int, int, str]]], top: int, font: Font
) -> None:
    for row, entries in enumerate(rows):
        y = top + row * (_TEXT + 8) + _TEXT // 2 - 2
        for number, x, name in entries:
            _line(draw, [(x, y), (x + 11, y), (x + 22, y)], number)
            draw.text((x + 28, y), name, INK, font, anchor="lm")


# Grid parts ----------------------------------------------------------------------------------------------------------


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Break a label at spaces so that each line fits; a word that is too long is cut with dots."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and font.getlength(f"{line} {word}") > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return [_cut(line, font, width) for line in lines]


def _cut(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
