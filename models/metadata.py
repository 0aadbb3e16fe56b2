"""The metadata of a safetensors file: reading it, and rewriting it without touching a tensor.

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

from ..atomic import replacing
from .checkpoint import open_safetensors

__all__ = ["read_metadata", "rewrite_metadata"]

_ALIGNMENT = 8


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata in the header of a ``.safetensors`` file (empty when it has none).

    Raises:
        CheckpointError: the file is missing, truncated or of another kind.
    """
    with open_safetensors(path) as file:
        return dict(file.metadata() or {})


def rewrite_metadata(path: str | os.PathLike[str], entries: Mapping[str, str]) -> None:
    """Add entries to the metadata of a ``.safetensors`` file, replacing those of the same name.

    The tensors are streamed over unread into a new file beside the old one, which then takes its place in one move: an
    interruption leaves the old file as it was.

    Args:
        path: of the file.
        entries: to add.

    Raises:
        CheckpointError: the file is missing, truncated or of another kind.
        OSError: the folder cannot be written to.
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
