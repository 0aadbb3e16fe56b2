"""The header of a safetensors file: opening it, reading its metadata, and rewriting it without touching a tensor.

Layout: 8 bytes little-endian header length, that many bytes of JSON (padded with spaces), then the tensors' bytes at
offsets relative to the end of the header. So the header can change its length and the tensors need not be understood;
the library that reads such files cannot do that, and so the rewriting is written here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..atomic import replacing
from .errors import CheckpointError, quote_first_line

__all__ = ["check_is_file", "open_safetensors", "read_metadata", "rewrite_metadata"]

_ALIGNMENT = 8
_MAX_HEADER = 8_000_000
"""Bytes. Real headers have 100 kB for a thousand tensors; the format's own limit of 100 MB takes half a minute."""


def open_safetensors(path: str | os.PathLike[str]) -> Any:
    """Open a ``.safetensors`` file as ``safetensors.safe_open`` does, to be used in a ``with`` statement.

    Raises:
        CheckpointError: The file is missing, truncated or of another kind, or its header is larger than any real one.
    """
    path = check_is_file(Path(path))
    try:
        _check_header_size(path)
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, OverflowError) as error:
        raise CheckpointError(
            f"{path.name}: is not a complete safetensors file ({quote_first_line(error)}); copy or download it again."
        ) from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata in the header of a ``.safetensors`` file (empty when it has none).

    Raises:
        CheckpointError: As for :func:`open_safetensors`.
    """
    with open_safetensors(path) as file:
        return dict(file.metadata() or {})


def rewrite_metadata(path: str | os.PathLike[str], entries: Mapping[str, str]) -> None:
    """Add entries to the metadata of a ``.safetensors`` file, replacing those of the same name.

    The tensors are streamed over unread into a new file beside the old one, which then takes its place in one move: an
    interruption leaves the old file as it was.

    Args:
        path: Of the file.
        entries: To add.

    Raises:
        CheckpointError: As for :func:`open_safetensors`.
        OSError: The folder cannot be written to.
    """
    with open_safetensors(path):
        pass  # the library has checked the header, and that the tensors are all there
    with Path(path).open("rb") as old:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        header["__metadata__"] = {**header.get("__metadata__", {}), **entries}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        with replacing(path) as part, part.open("wb") as new:
            new.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(old, new, 1 << 20)


def check_is_file(path: Path) -> Path:
    """Return the path of a file.

    Raises:
        CheckpointError: There is none, or it is a folder.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, but a single file of weights was expected; name the file in it.")
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; check the name and the folder.")
    return path


def _check_header_size(path: Path) -> None:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if _MAX_HEADER < size <= path.stat().st_size:
        raise CheckpointError(
            f"{path.name}: has a header of {size / 1e6:.0f} MB, and at most {_MAX_HEADER / 1e6:.0f} MB are read; save "
            "the weights again with less metadata."
        )
