"""Labelled sheets: images of a sweep in rows and columns by two of their values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ...pipeline.pictures.layout import draw_image_grid
from ...printable import make_line
from ..manifest import DONE, ManifestError, Record, read_records

__all__ = ["find_value", "make_sheets", "open_image"]

MOST_COLUMNS, MOST_CELLS = 100, 10_000
LONGEST_LABEL = 60


def make_sheets(folder: Path, rows_by: str, columns_by: str, *, cell: int = 256) -> Iterator[tuple[str, Image.Image]]:
    """Yield sheets of the images in a folder; where several share a place, the second goes to the second sheet.

    Args:
        folder: With a manifest.
        rows_by: A column of the rows, or of their contracts (``solver``, ``shift``), or ``seed``; one row a value.
        columns_by: The same, for the columns of the sheet.
        cell: The longer side of an image on the sheet, in pixels.

    Yields:
        (title, sheet).

    Raises:
        ManifestError: There is no manifest, no image, no such column, or too many values.
    """
    records = [record for record in read_records(folder) if record.status == DONE and record.files]
    if not records:
        raise ManifestError(f"{folder}: its manifest has no finished row; run it first.")
    across, down = (_list_values(records, name) for name in (columns_by, rows_by))
    if len(across) > MOST_COLUMNS or len(across) * len(down) > MOST_CELLS:
        raise ManifestError(
            f"{rows_by} has {len(down)} values and {columns_by} {len(across)}; a sheet has at most {MOST_COLUMNS} "
            f"columns and {MOST_CELLS} images: sort by others."
        )
    places: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        places[str(find_value(record, rows_by)), str(find_value(record, columns_by))].append(record)
    for number in range(max(map(len, places.values()))):
        images = [
            (f"{rows_by} {row}, {columns_by} {column}", _open_cell(folder, places[row, column], number, cell))
            for row in down
            for column in across
        ]
        title = make_line(f"{folder.name}: {rows_by} down, {columns_by} across", 200)
        yield title, draw_image_grid(images, columns=len(across), title=title, cell=cell)


def find_value(record: Record, name: str) -> Any:
    """Return a record's column, what is known about it, or a field of its contract; None where there is none."""
    contract = record.about.get("contract") or {}
    found = next((place[name] for place in (record.values, record.about, contract) if name in place), None)
    return str(found) if isinstance(found, list | dict) else found


def open_image(path: Path) -> Image.Image:
    """Open an image, or the first frame of an animation.

    Raises:
        ManifestError: It is gone, or is not an image.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise ManifestError(f"{path}: is not an image that can be shown ({make_line(str(error), 80)}).") from None


def _list_values(records: list[Record], name: str) -> list[str]:
    values = {find_value(record, name) for record in records}
    if values == {None}:
        known = ", ".join(dict.fromkeys(key for record in records[:50] for key in [*record.values, *record.about]))
        raise ManifestError(f"there is no column {name!r}; there are {known}, and the fields of contracts.")
    return list(dict.fromkeys(map(str, sorted(values, key=_make_sort_key))))


def _make_sort_key(value: Any) -> tuple[int, float, str]:
    try:
        return 0, float(value), ""
    except (TypeError, ValueError):
        return 1, 0.0, str(value)


def _open_cell(folder: Path, records: list[Record], number: int, cell: int) -> Image.Image:
    if number >= len(records):
        return Image.new("RGB", (cell, cell), (40, 40, 40))
    return open_image(folder / records[number].files[0]["path"])
