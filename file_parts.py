"""``FILE:NAME``, as people name one thing in a file that holds several. Standard library only."""

from __future__ import annotations

from pathlib import Path

__all__ = ["split_name"]


def split_name(argument: str) -> tuple[Path, str | None]:
    """Split ``FILE[:NAME]``: the longest beginning that exists is the file, so that both may hold colons."""
    parts = argument.split(":")
    for count in range(len(parts), 0, -1):
        path = Path(":".join(parts[:count]))
        if path.exists():
            return path, ":".join(parts[count:]) or None
    return Path(argument), None
