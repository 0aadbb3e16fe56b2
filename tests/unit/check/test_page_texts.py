"""The panel's texts: every kind of finding has a name in each language, and an explanation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from wan_lite.check.explanations import EXPLANATIONS
from wan_lite.check.report import SEVERITIES

ROOT = Path(__file__).resolve().parents[3]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def texts(language: str) -> dict[str, Any]:
    content = json.loads((ROOT / "locales" / language / "main.json").read_text("utf-8"))
    return dict(content["wanLite"]["check"])


def leaves(table: Any, path: str = "") -> dict[str, str]:
    if not isinstance(table, dict):
        return {path: table}
    return {key: text for name, inner in table.items() for key, text in leaves(inner, f"{path}.{name}").items()}


def test_every_kind_and_severity_has_a_name() -> None:
    for language in ("en", "zh"):
        assert set(texts(language)["kinds"]) == set(EXPLANATIONS)
        assert set(texts(language)["severities"]) == set(SEVERITIES)


def test_chinese_says_all_that_english_says_and_explains() -> None:
    chinese, english = texts("zh"), texts("en")
    explanations = chinese.pop("explanations")
    assert set(explanations) == set(EXPLANATIONS)
    assert set(leaves(chinese)) == set(leaves(english))
    assert all(map(CHINESE.search, [*leaves(chinese).values(), *explanations.values()]))
    for key, text in leaves(english).items():
        assert set(re.findall(r"\{\w+\}", leaves(chinese)[key])) == set(re.findall(r"\{\w+\}", text)), key


def test_the_panel_uses_texts_that_there_are() -> None:
    script = "".join(path.read_text("utf-8") for path in (ROOT / "web" / "check").glob("*.js"))
    used = set(re.findall(r"""\btext\("(\w+)\"""", script))
    assert used and used <= set(texts("en"))
