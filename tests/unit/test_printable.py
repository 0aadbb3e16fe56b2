"""Text from files is shown without what steers a terminal, and not without end."""

from __future__ import annotations

import unicodedata

import pytest

from wan_lite.printable import LONGEST_LINE, make_line, make_printable


def test_control_characters_become_their_codes_and_words_stay() -> None:
    assert make_printable("a\x1b[31mred\u202e\ud800\n圆 é 👩\u200d🚀") == "a\\x1b[31mred\\u202e\\ud800\n圆 é 👩\u200d🚀"


@pytest.mark.parametrize("text", ["x" * 100_000, "\x1b" * 300, "\U0001f680\n" * 401, "a b" * 10**6, ""])
def test_a_line_is_one_and_short(text: str) -> None:
    line = make_line(text)
    assert len(line) <= LONGEST_LINE
    assert not any(unicodedata.category(character) == "Cc" for character in line)
    line.encode("utf-8")


def test_a_line_keeps_its_beginning_and_its_end() -> None:
    assert make_line("short") == "short"
    line = make_line("begin " + "x" * 1000 + " the remedy.")
    assert line.startswith("begin x") and line.endswith("x the remedy.") and " ... " in line
