"""The texts in other languages against the nodes, and as a real server hands them out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from host.client import Client
from host.help_pages import english_texts
from host.server import PACK

LOCALES = PACK / "locales"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
UNTRANSLATED = {"top_k", "top_p", "vae"}


def texts(language: str) -> dict[str, Any]:
    return dict(json.loads((LOCALES / language / "nodeDefs.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def ours(comfy: Client) -> dict[str, Any]:
    return {name: info for name, info in comfy.object_info().items() if name.startswith("WanLite")}


def test_english_is_what_the_nodes_say(ours: dict[str, Any]) -> None:
    english = texts("en")
    assert set(english) == set(ours)
    stale = [name for name, info in ours.items() if english[name] != english_texts(info)]
    assert not stale, (
        f"locales/en/nodeDefs.json is stale for {stale}; run `python scripts/help_pages.py`, then look at the Chinese."
    )


def test_chinese_has_every_text_and_none_too_many(ours: dict[str, Any]) -> None:
    chinese, english = texts("zh"), texts("en")
    assert set(chinese) == set(ours)
    for name, node in english.items():
        translated = chinese[name]
        assert CHINESE.search(translated["display_name"]) and CHINESE.search(translated["description"]), name
        for part in ("inputs", "outputs"):
            assert list(translated[part]) == list(node[part]), (name, part)
            for key, entry in node[part].items():
                there = translated[part][key]
                assert set(there) == set(entry), (name, key)
                assert bool(there["tooltip"]) == bool(entry["tooltip"]), (name, key)
                assert not entry["tooltip"] or CHINESE.search(there["tooltip"]), (name, key, "is not translated")


def test_chinese_names_keep_the_word_that_messages_use() -> None:
    for name, node in texts("zh").items():
        for key, entry in node["inputs"].items():
            plain = key in UNTRANSLATED or f"({key})" in entry["name"] or entry["name"].lower() == key
            assert plain, (name, key, entry["name"])


def test_one_english_text_has_one_chinese_text() -> None:
    seen: dict[str, str] = {}
    chinese = texts("zh")
    for name, node in texts("en").items():
        for key, entry in node["inputs"].items():
            there = chinese[name]["inputs"][key]["tooltip"]
            assert seen.setdefault(entry["tooltip"], there) == there, (name, key)


def test_the_server_hands_them_out(comfy: Client) -> None:
    answer = comfy.get_json("/i18n")
    for language in ("en", "zh"):
        given = answer[language]["nodeDefs"]
        assert {name: given[name] for name in texts(language)} == texts(language)
