"""The header of a safetensors file: reading its string table, and rewriting it without touching a tensor.

Layout: 8 bytes little-endian header length, that many bytes of JSON (padded with spaces), then the tensors' bytes at
offsets relative to the end of the header. So the header can change its length and the tensors need not be understood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from ..atomic import replacing

__all__ = ["read_header", "rewrite_header"]

_LARGEST = 100_000_000  # the format's own limit on the header
_ALIGNMENT = 8


def read_header(path: Path) -> dict[str, str]:
    """Return the string table (``__metadata__``) of a safetensors file; empty when it has none.

    Raises:
        ValueError: the file is not safetensors, or is cut off.
    """
    with path.open("rb") as file:
        table: dict[str, str] = _read_json(file, path.name).get("__metadata__", {})
        return table


def rewrite_header(path: Path, entries: Mapping[str, str]) -> None:
    """Add ``entries`` to the string table of a safetensors file, replacing those of the same name.

    The tensors are streamed over unread into a new file beside the old one, which then takes its place in one move: an
    interruption leaves the old file as it was.

    Raises:
        ValueError: the file is not safetensors, or is cut off.
        OSError: the folder cannot be written to.
    """
    with path.open("rb") as old:
        header = _read_json(old, path.name)
        _check_complete(header, old, path)
        header["__metadata__"] = {**header.get("__metadata__", {}), **entries}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        with replacing(path) as part, part.open("wb") as new:
            new.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(old, new, 1 << 20)


def _read_json(file: BinaryIO, name: str) -> dict[str, Any]:
    """Read the header and leave the file at the first tensor byte."""
    length = int.from_bytes(file.read(8), "little")
    text = file.read(length) if 0 < length <= _LARGEST else b""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if len(text) != length or not _is_header(header):
        raise ValueError(f"{name}: is not a complete safetensors file; copy or download it again.")
    return dict(header)


def _is_header(header: Any) -> TypeGuard[dict[str, Any]]:
    """Whether this is a table of tensors, each with its two offsets, and a table of strings."""
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        return False
    strings = header.get("__metadata__", {}).values()
    offsets = [entry.get("data_offsets") for key, entry in header.items() if key != "__metadata__"]
    return all(isinstance(text, str) for text in strings) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair) for pair in offsets
    )


def _check_complete(header: dict[str, Any], file: BinaryIO, path: Path) -> None:
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    held, needed = path.stat().st_size - file.tell(), max(ends, default=0)
    if held != needed:
        raise ValueError(
            f"{path.name}: holds {held} bytes of tensors where its header speaks of {needed}; "
            "copy or download it again."
        )
