"""Many images on one page: labels, rollouts side by side, contact sheets, grids of labelled images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image, ImageDraw
from torch import Tensor

from .convert import from_pil, to_pil
from .fonts import TEXT_SIZE, TITLE_SIZE, load_font, wrap_text

__all__ = [
    "LABEL_HEIGHT",
    "ContactSheet",
    "Grid",
    "Layout",
    "arrange_frames",
    "draw_batches",
    "draw_image_grid",
    "draw_labels",
    "enlarge",
    "make_contact_sheet",
    "make_thumbnail",
    "put_side_by_side",
]

Layout = Literal["frames", "side by side", "contact sheet"]
"""How :func:`arrange_frames` puts the frames of several rollouts together."""

LABEL_HEIGHT = 14
"""Pixels that :func:`draw_labels` adds above a frame."""

_GAP, _MARGIN = 2, 10
_DARK, _LIGHT = (24, 24, 24), (235, 235, 235)
_PAPER, _INK = (255, 255, 255), (32, 32, 32)


@dataclass(frozen=True)
class ContactSheet:
    """Where equal cells lie on a page, row by row; all lengths in pixels.

    Attributes:
        count: Number of cells.
        columns: Cells in a row.
        cell: Width and height of each.
        gap: Space between two cells.
        margin: Space around all of them.
        header: Height above the cells, for a title.
    """

    count: int
    columns: int
    cell: tuple[int, int]
    gap: int = _GAP
    margin: int = 0
    header: int = 0

    @classmethod
    def make_square(cls, count: int, cell: tuple[int, int], columns: int | None = None) -> ContactSheet:
        """Return a page with ``columns`` cells in a row, or with so many that it is about square."""
        width, height = cell
        return cls(count, columns or max(1, math.ceil(math.sqrt(count * height / width))), cell)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the page."""
        rows = math.ceil(self.count / self.columns)
        across, down = (
            number * (side + self.gap) - self.gap + 2 * self.margin
            for number, side in zip((self.columns, rows), self.cell, strict=True)
        )
        return across, down + self.header

    def locate(self, index: int) -> tuple[int, int]:
        """Return the left and the top of a cell."""
        row, column = divmod(index, self.columns)
        left = self.margin + column * (self.cell[0] + self.gap)
        return left, self.margin + self.header + row * (self.cell[1] + self.gap)


def enlarge(frames: Tensor, factor: int) -> Tensor:
    """Repeat every pixel, without blur: (..., H, W, 3) -> (..., factor H, factor W, 3)."""
    return repeat(frames, "... h w c -> ... (h a) (w b) c", a=factor, b=factor)


def draw_labels(frames: Tensor, texts: Sequence[str]) -> Tensor:
    """Write a line of text above each frame: (n, H, W, 3) in [0, 1] -> (n, H + LABEL_HEIGHT, W, 3).

    The frame's own pixels stay as they are; a text that is too long is cut off.

    Raises:
        ValueError: The number of texts is not the number of frames.
    """
    if len(texts) != len(frames):
        raise ValueError(f"texts: {len(texts)} given for {len(frames)} frames; give one for each.")
    strips = [_draw_strip(text, frames.shape[2]) for text in texts]
    return torch.cat([torch.stack(strips).to(frames), frames], dim=1)


def put_side_by_side(rollouts: Tensor) -> Tensor:
    """Put several rollouts into one image per frame: (b, t, H, W, 3) -> (t, H, b W and gaps, 3)."""
    b, t, h, w, _ = rollouts.shape
    sheet = ContactSheet(b, b, (w, h))
    page = _make_paper(rollouts, t, sheet.size)
    for item in range(b):
        left, _ = sheet.locate(item)
        page[:, :, left : left + w] = rollouts[item]
    return page


def make_contact_sheet(frames: Tensor, columns: int | None = None) -> Tensor:
    """Put all frames on one page, row by row: (n, H, W, 3) -> (1, rows and gaps, columns and gaps, 3).

    Args:
        frames: In [0, 1].
        columns: Frames in a row; None makes the page about square.
    """
    n, h, w, _ = frames.shape
    sheet = ContactSheet.make_square(n, (w, h), columns)
    page = _make_paper(frames, 1, sheet.size)
    for i, frame in enumerate(frames):
        left, top = sheet.locate(i)
        page[0, top : top + h, left : left + w] = frame
    return page


def arrange_frames(frames: Tensor, layout: Layout, labels: Sequence[Sequence[str]] | None = None) -> Tensor:
    """Arrange the frames of several rollouts: (b, t, H, W, 3) in [0, 1] -> (n, H', W', 3).

    Args:
        frames: A row for each rollout.
        layout: ``frames`` one after another, rollout after rollout; ``side by side`` with one image per frame number;
            ``contact sheet`` with all on one page, a row for each rollout (a single one makes a square page).
        labels: A text above each frame, or None.

    Raises:
        ValueError: There is not one text for each frame.
    """
    if labels is not None:
        frames = torch.stack([draw_labels(row, texts) for row, texts in zip(frames, labels, strict=True)])
    if layout == "side by side":
        return put_side_by_side(frames)
    flat = rearrange(frames, "b t h w c -> (b t) h w c")
    columns = frames.shape[1] if len(frames) > 1 else None
    return make_contact_sheet(flat, columns) if layout == "contact sheet" else flat


def draw_image_grid(
    images: Sequence[tuple[str, Image.Image]], *, columns: int = 0, title: str = "", cell: int = 256
) -> Image.Image:
    """Lay out (label, image) pairs in rows, each label above its image.

    Args:
        images: Of any size; they are enlarged with hard pixels and reduced smoothly.
        columns: Images in a row; 0 makes the grid about square.
        title: A line above all of them.
        cell: The longer side of an image on the grid, in pixels.

    Raises:
        ValueError: There are no images.
    """
    if not images:
        raise ValueError("images is empty; give at least one labelled image.")
    font, line = load_font(), TEXT_SIZE + 5
    labels = [wrap_text(text, font, cell) for text, _ in images]
    fitted = [_fit_image(image, cell) for _, image in images]
    label_height = line * max(map(len, labels))
    size = (cell, label_height + max(image.height for image in fitted))
    columns = columns or math.ceil(math.sqrt(len(images)))
    sheet = ContactSheet(len(images), columns, size, _MARGIN, _MARGIN, TITLE_SIZE + 10 if title else 0)
    page = Image.new("RGB", sheet.size, _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 2), title, _INK, load_font(TITLE_SIZE))
    for number, (lines, image) in enumerate(zip(labels, fitted, strict=True)):
        left, top = sheet.locate(number)
        draw.multiline_text((left, top), "\n".join(lines), _INK, font, spacing=3)
        page.paste(image, (left, top + label_height))
    return page


@dataclass(frozen=True)
class Grid:
    """How :func:`draw_batches` lays out a page; see :func:`draw_image_grid`."""

    columns: int = 0
    title: str = ""
    cell: int = 256


def draw_batches(batches: Sequence[Tensor], labels: str, grid: Grid) -> Tensor:
    """Lay out batches of images on one page, a row for each where there are several: (n, H, W, 3) each -> (H', W', 3).

    Args:
        batches: In [0, 1], of any sizes; a fourth channel is left out.
        labels: A line for each image, row after row; too few leave the rest without.
        grid: With columns 0 the largest batch says how many there are; a single one makes the page about square.

    Raises:
        ValueError: There are more lines than images.
    """
    lines, images = labels.rstrip("\n").split("\n"), sum(map(len, batches))
    if len(lines) > images:
        raise ValueError(f"labels has {len(lines)} lines for {images} images; give at most one for each.")
    texts = iter([line.strip() for line in lines] + [""] * (images - len(lines)))
    rows = [[(next(texts), to_pil(image[..., :3])) for image in batch] for batch in batches]
    columns = grid.columns
    if len(rows) > 1:
        columns = columns or max(map(len, rows))
        paper = ("", Image.new("RGB", (1, 1), _PAPER))
        rows = [[*row, *[paper] * (-len(row) % columns)] for row in rows]
    cells = [cell for row in rows for cell in row]
    return from_pil(draw_image_grid(cells, columns=columns, title=grid.title, cell=grid.cell))


def make_thumbnail(image: Tensor, cell: int) -> Image.Image:
    """Return an image (H, W, 3) in [0, 1] as a grid shows it: its longer side ``cell`` pixels long."""
    return _fit_image(to_pil(image), cell)


def _fit_image(image: Image.Image, cell: int) -> Image.Image:
    scale = cell / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)


def _make_paper(like: Tensor, n: int, size: tuple[int, int]) -> Tensor:
    colour = torch.tensor(_DARK, dtype=like.dtype, device=like.device) / 255
    return repeat(colour, "c -> n h w c", n=n, h=size[1], w=size[0]).clone()


def _draw_strip(text: str, width: int) -> Tensor:
    image = Image.new("RGB", (width, LABEL_HEIGHT), _DARK)
    ImageDraw.Draw(image).text((2, 1), text, fill=_LIGHT)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255
