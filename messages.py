"""Sentences that are shown: without control characters, and never longer than a reader bears.

File names, tensor names and captions come from strangers. Standard library only, so that every layer may use it.
"""

from __future__ import annotations

__all__ = ["MAX_LENGTH", "clean_message"]

MAX_LENGTH = 400
_HEAD = 270  # of a sentence that is cut: what was found; its end, the remedy, is kept too
_CUT = " [...] "


def clean_message(text: str) -> str:
    r"""Return a sentence on one line: what cannot be printed is escaped, and a long middle is left out.

    Line breaks become spaces; terminal escapes, other control characters and those that turn the direction of writing
    are shown as ``\x1b``, ``\u202e``. The result has at most :data:`MAX_LENGTH` characters.
    """
    if len(text) > 4 * MAX_LENGTH:  # escape no more than can be shown
        text = text[: 2 * MAX_LENGTH] + text[-2 * MAX_LENGTH :]
    line = " ".join(part.strip() for part in text.splitlines() if part.strip()) if "\n" in text else text
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
    if len(line) <= MAX_LENGTH:
        return line
    return line[:_HEAD] + _CUT + line[_HEAD + len(_CUT) - MAX_LENGTH :]
