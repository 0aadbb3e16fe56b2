"""Text from files made safe to show: no control characters, no endless lines. Standard library only."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["LONGEST_LINE", "SentenceError", "make_file_name", "make_line", "make_printable"]

LONGEST_LINE = 400
_LONGEST_NAME = 80

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that steer a terminal, reorder text or cannot be encoded: they are shown as their code."""

_SAFE = "\n\u200c\u200d"  # line feeds, and the joiners of some scripts and of emoji


class SentenceError(ValueError):
    """Wrong input, said in one printable sentence: what was found, what is allowed, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(make_line(message))


def make_printable(text: str) -> str:
    r"""Return a text with every control character shown as its code, such as ``\x1b``; line feeds stay."""
    return "".join(c if c in _SAFE or unicodedata.category(c) not in _UNSAFE else _show_code(c) for c in text)


def make_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Return a text as one printable line of at most ``longest`` characters, its middle left out where it is longer."""
    cut = text if len(text) <= 8 * longest else f"{text[: 4 * longest]}{text[-4 * longest :]}"
    line = make_printable(" ".join(cut.split()))
    if len(line) <= longest and cut is text:
        return line
    end = longest // 3
    return f"{line[: longest - end - 5]} ... {line[-end:]}"


def make_file_name(text: str) -> str:
    """Return a text as a part of a file name: no separators, nothing that some file system refuses, not too long."""
    name = "".join(" " if unicodedata.category(c)[0] == "C" or c in '/\\:*?"<>|' else c for c in text)
    return re.sub(r"\s+", " ", name).strip(" .")[:_LONGEST_NAME].strip(" .") or "_"


def _show_code(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
