"""The header of a safetensors file: reading its string table, and rewriting it without touching a tensor.

Layout: 8 bytes little-endian header length, that many bytes of JSON (padded with spaces), then the tensors' bytes at
offsets relative to the end of the header. So the header can change its length and the tensors need not be understood.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["read_header", "rewrite_header"]

_LARGEST = 100_000_000  # the format's own limit on the header
_ALIGNMENT = 8


def read_header(path: Path) -> dict[str, str]:
    """Return the string table (``__metadata__``) of a safetensors file; empty when it has none.

    Raises:
        ValueError: the file is not safetensors, or is cut off.
    """
    with path.open("rb") as file:
        return dict(_read_json(file, path.name).get("__metadata__") or {})


def rewrite_header(path: Path, entries: Mapping[str, str]) -> None:
    """Add ``entries`` to the string table of a safetensors file, replacing those of the same name.

    The tensors are streamed over unread into a new file beside the old one, which then takes its place in one move: an
    interruption leaves the old file as it was.

    Raises:
        ValueError: the file is not safetensors, or is cut off.
    """
    path = path.resolve()  # through a link: the file itself is replaced
    with path.open("rb") as old:
        header = _read_json(old, path.name)
        _check_complete(header, old, path)
        header["__metadata__"] = {**(header.get("__metadata__") or {}), **entries}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as new:
                new.write(len(text).to_bytes(8, "little") + text)
                shutil.copyfileobj(old, new, 1 << 20)
                new.flush()
                os.fsync(new.fileno())
            shutil.copymode(path, name)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _read_json(file: BinaryIO, name: str) -> dict[str, Any]:
    """Read the header and leave the file at the first tensor byte."""
    length = int.from_bytes(file.read(8), "little")
    text = file.read(length) if 0 < length <= _LARGEST else b""
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if len(text) != length or not isinstance(header, dict):
        raise ValueError(f"{name}: is not a complete safetensors file; copy or download it again.")
    return header


def _check_complete(header: dict[str, Any], file: BinaryIO, path: Path) -> None:
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    held, needed = path.stat().st_size - file.tell(), max(ends, default=0)
    if held != needed:
        raise ValueError(
            f"{path.name}: holds {held} bytes of tensors where its header speaks of {needed}; it is damaged."
        )
