"""Charts and grids: they draw what they are given, at the size that was asked for, and survive odd input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from wan_lite.pipeline.pictures.charts import COLOURS, Axes, draw_line_chart
from wan_lite.pipeline.pictures.layout import draw_image_grid


def colours_of(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}


def test_every_line_is_drawn_in_its_colour_and_the_legend_takes_room_below() -> None:
    series = {f"line {k}": [(x, x * k) for x in range(5)] for k in range(3)}
    chart = draw_line_chart(series, Axes("title", "x", "y", size=(500, 300)))
    assert chart.width == 500
    assert chart.height > 300
    assert set(COLOURS[:3]) <= colours_of(chart)


def test_a_line_goes_where_its_values_are() -> None:
    rising = np.asarray(draw_line_chart({"": [(0, 0), (1, 1)]}, Axes(size=(400, 300))))[:290]
    rows, columns = np.nonzero((rising == COLOURS[0]).all(-1))
    assert np.corrcoef(rows, columns)[0, 1] < -0.9


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "points", [[], [(1, 1)], [(0, 2.0), (1, 2.0)], [(0, math.nan), (1, math.inf), (2, 1.0)], [(0, -1.0), (1, 0.0)]]
)
def test_odd_series_are_drawn_without_failing(points: list, log: bool) -> None:
    assert draw_line_chart({"a": points}, Axes(log=log)).size[0] == 720


def test_many_lines_reuse_colours_with_dashes() -> None:
    first, again = len(COLOURS) - 1, 2 * len(COLOURS) - 1  # two lines of one colour, each drawn alone
    rising: list[tuple[float, float]] = [(x, x) for x in range(51)]
    series: dict[str, list[tuple[float, float]]] = {f"a rather long name {k}": [] for k in range(again + 1)}
    solid, dashed = (draw_line_chart(series | {list(series)[k]: rising}) for k in (first, again))
    plot = (66, 40, 700, 350)
    drawn = [int((np.asarray(chart.crop(plot)) == COLOURS[-1]).all(-1).sum()) for chart in (solid, dashed)]
    assert 0.3 * drawn[0] < drawn[1] < 0.7 * drawn[0]


def test_grid_places_pictures_in_rows() -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    grid = draw_image_grid([("first", red), ("a label\nof two lines", blue), ("third", red)], columns=2, cell=64)
    pixels = np.asarray(grid)
    reds = np.argwhere((pixels == (255, 0, 0)).all(-1))
    blues = np.argwhere((pixels == (0, 0, 255)).all(-1))
    assert len(reds) == 2 * 64 * 64
    assert len(blues) == 64 * 64
    assert blues[:, 1].min() > reds[:, 1].min() + 64
    with pytest.raises(ValueError, match="images is empty"):
        draw_image_grid([])
