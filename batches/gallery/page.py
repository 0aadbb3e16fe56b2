"""One HTML page over a manifest: small images inside, large ones linked; no server, no network."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...atomic import replacing
from ...printable import make_printable
from ..manifest import ManifestError, Record, read_records
from .sheets import open_image

__all__ = ["write_page"]

THUMBNAIL = 128
"""Longest side of the images inside the page, in pixels."""

SHOWN_OF_CONTRACT = ("solver", "steps", "shift", "cfg")
SHOWN_OF_ABOUT = ("seed", "server")


def write_page(folder: Path, path: Path) -> int:
    """Write the page.

    Args:
        folder: With a manifest.
        path: The page; images are linked relative to it.

    Returns:
        The number of rows on it.

    Raises:
        ManifestError: There is no manifest, or no row in it.
        OSError: The page cannot be written; what was there stays.
    """
    items = list(_list_items(folder, path))
    if not items:
        raise ManifestError(f"{folder}: its manifest is empty; run it first.")
    template = files(__package__).joinpath("page.html").read_text("utf-8")
    about = {"title": make_printable(folder.resolve().name), "items": items, "columns": _list_columns(items)}
    # inside a script element only "<" could end the data
    data = json.dumps(about, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    with replacing(path) as part:
        part.write_text(template.replace("/*DATA*/null", data), "utf-8", errors="backslashreplace")
    return len(items)


def _list_items(folder: Path, path: Path) -> Iterator[dict[str, Any]]:
    start = path.resolve().parent
    for record in read_records(folder):
        item: dict[str, Any] = {"row": record.row, "values": _list_shown(record)}
        if record.error:
            item["error"] = make_printable(record.error)
        if record.files:
            file = (folder / record.files[0]["path"]).resolve()
            item["file"] = quote(_make_relative(file, start))
            with contextlib.suppress(ManifestError):  # a video is linked, not shown
                item["image"] = _make_thumbnail(file)
        yield item


def _list_shown(record: Record) -> dict[str, str]:
    """Return what the page filters and sorts by, as texts."""
    contract = record.about.get("contract") or {}
    fields = {name: contract[name] for name in SHOWN_OF_CONTRACT if name in contract}
    about = {name: record.about[name] for name in SHOWN_OF_ABOUT if name in record.about}
    return {name: make_printable(str(value)) for name, value in (fields | about | record.values).items()}


def _list_columns(items: list[dict[str, Any]]) -> list[str]:
    """Return the columns that tell rows apart."""
    names = dict.fromkeys(name for item in items for name in item["values"])
    return [name for name in names if len({item["values"].get(name) for item in items}) > 1]


def _make_relative(file: Path, start: Path) -> str:
    return Path(os.path.relpath(file, start)).as_posix()


def _make_thumbnail(file: Path) -> str:
    image = open_image(file)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=75)
    return base64.b64encode(content.getvalue()).decode("ascii")
