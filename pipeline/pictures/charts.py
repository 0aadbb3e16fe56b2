"""Line charts with a legend, drawn with Pillow alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .fonts import TEXT_SIZE, TITLE_SIZE, Font, load_font

__all__ = ["Axes", "draw_line_chart"]

BACKGROUND, INK, FAINT, GREY = (255, 255, 255), (32, 32, 32), (226, 226, 226), (110, 110, 110)
# Distinct for readers with any colour vision (Okabe and Ito), and again by dash where there are more.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0))
_PAD, _TICKS = 10, 5


@dataclass(frozen=True)
class Axes:
    """What a chart says around its lines. ``log`` draws y on a logarithmic axis; ``size`` is (width, height)."""

    title: str = ""
    x: str = ""
    y: str = ""
    log: bool = False
    size: tuple[int, int] = (720, 400)


def draw_line_chart(series: Mapping[str, Sequence[tuple[float, float]]], axes: Axes | None = None) -> Image.Image:
    """Draw one line for each entry of ``series``, a sequence of (x, y), with a legend of the names below.

    Points that are not finite (or, on a log axis, not above 0) break the line. An empty chart says so.
    """
    axes = axes or Axes()
    font, legend = load_font(), _lay_out_legend(list(series), axes.size[0])
    image = Image.new("RGB", (axes.size[0], axes.size[1] + len(legend) * (TEXT_SIZE + 8)), BACKGROUND)
    draw = ImageDraw.Draw(image)
    lines = {name: [point for point in points if _is_drawable(point, axes.log)] for name, points in series.items()}
    points = [point for line in lines.values() for point in line]
    draw.text((_PAD, _PAD - 2), axes.title, INK, load_font(TITLE_SIZE))
    if points:
        frame = _Frame.around(points, axes)
        frame.draw(draw, axes, font)
        for number, name in enumerate(series):
            for run in _split_runs(series[name], axes.log):
                _draw_line(draw, [frame.place(point) for point in run], number)
    else:
        draw.text((_PAD, axes.size[1] // 2), "nothing to draw", GREY, font)
    _draw_legend(draw, legend, axes.size[1], font)
    return image


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
        box = (64, TITLE_SIZE + 2 * _PAD, axes.size[0] - 16, axes.size[1] - 46)
        return cls(box, _pad_range(min(xs), max(xs), 0.0), _choose_range(ys, axes.log), axes.log)

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        left, top, right, bottom = self.box
        y, low, high = (math.log10(v) if self.log else v for v in (point[1], *self.y))
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        return left + across * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    def draw(self, draw: ImageDraw.ImageDraw, axes: Axes, font: Font) -> None:
        left, top, right, bottom = self.box
        for value in _choose_log_ticks(*self.y) if self.log else _choose_ticks(*self.y):
            y = self.place((self.x[0], value))[1]
            draw.line((left, y, right, y), FAINT)
            draw.text((left - 6, y), f"{value:.4g}", GREY, font, anchor="rm")
        for value in _choose_ticks(*self.x):
            x = self.place((value, self.y[0]))[0]
            draw.line((x, bottom, x, bottom + 4), GREY)
            draw.text((x, bottom + 6), f"{value:.4g}", GREY, font, anchor="mt")
        draw.rectangle(self.box, outline=GREY)
        draw.text((right, bottom + 24), axes.x, INK, font, anchor="rt")
        draw.text((right, top - 4), axes.y, INK, font, anchor="rs")


def _choose_range(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if not log:
        return _pad_range(low, high, 0.05)
    # whole decades make ticks that can be read
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** max(
        math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1
    )


def _pad_range(low: float, high: float, share: float) -> tuple[float, float]:
    if low == high:
        return low - 0.5, high + 0.5
    return low - share * (high - low), high + share * (high - low)


def _choose_ticks(low: float, high: float) -> list[float]:
    """About five round values (1, 2 or 5 times a power of ten) inside the range."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _choose_log_ticks(low: float, high: float) -> list[float]:
    exponents = range(round(math.log10(low)), round(math.log10(high)) + 1)
    return [10.0**exponent for exponent in exponents[:: max(1, len(exponents) // 6)]]


def _is_drawable(point: tuple[float, float], log: bool) -> bool:
    return all(map(math.isfinite, point)) and (not log or point[1] > 0)


def _split_runs(points: Sequence[tuple[float, float]], log: bool) -> list[list[tuple[float, float]]]:
    """Cut a line where points cannot be drawn."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if _is_drawable(point, log):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _draw_line(draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], number: int) -> None:
    colour, dashed = COLOURS[number % len(COLOURS)], number // len(COLOURS) % 2
    for n, (start, end) in enumerate(itertools.pairwise(points)):
        if not (dashed and n % 2):
            draw.line((*start, *end), colour, 2)
    for x, y in points if len(points) <= 40 else points[-1:]:
        draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour)


def _lay_out_legend(names: Sequence[str], width: int) -> list[list[tuple[int, int, str]]]:
    """Rows of (number, x, name) that fit the width."""
    font, x = load_font(), _PAD
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
        y = top + row * (TEXT_SIZE + 8) + TEXT_SIZE // 2 - 2
        for number, x, name in entries:
            _draw_line(draw, [(x, y), (x + 11, y), (x + 22, y)], number)
            draw.text((x + 28, y), name, INK, font, anchor="lm")
