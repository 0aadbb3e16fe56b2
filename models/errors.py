"""The error of every loader."""

from __future__ import annotations

from ..printable import SentenceError

__all__ = ["CheckpointError", "quote_first_line"]


class CheckpointError(SentenceError):
    """A file that cannot be used, said in one sentence: which file, what it holds, what was expected, what to do."""


def quote_first_line(error: Exception) -> str:
    """Return the first line of what a library said, at most 160 characters."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
