"""Configurations beside weights: small files of text, whose size is known before they are read."""

from __future__ import annotations

from pathlib import Path

from .errors import CheckpointError

__all__ = ["MAX_TEXT", "read_text"]

MAX_TEXT = 8_000_000
"""Bytes; as many as a header may have. Real configurations have some kilobytes, an index of weights 200."""


def read_text(path: Path, *, most: int = MAX_TEXT) -> str:
    """Return the text of a small file in UTF-8.

    Args:
        path: Of the file.
        most: Bytes that are read.

    Raises:
        CheckpointError: It cannot be opened, is larger than any real one, or is not text.
    """
    name = f"{path.parent.name}/{path.name}"
    if not path.is_file():  # a device or a pipe would never end
        raise CheckpointError(f"{name}: is not a file; check the name and the folder.")
    try:
        size = path.stat().st_size
        if size <= most:
            return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{name}: cannot be read as text ({error}); copy or save it again.") from error
    raise CheckpointError(
        f"{name}: has {size / 1e6:.0f} MB, and at most {most / 1e6:.0f} MB of such a file are read; take the original."
    )
