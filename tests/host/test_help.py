"""The help pages against the nodes, and as a real server hands them out."""

from __future__ import annotations

import io
import re
import urllib.request
from typing import Any

import pytest
from PIL import Image

from host.client import Client
from host.help_pages import (
    DOCS,
    chinese_page_of,
    chinese_texts,
    english_page_of,
    inputs_of,
    page_of,
    with_tables,
)

HEADINGS = ["## Inputs", "## Outputs", "## Example", "## When something goes wrong"]
CHINESE_HEADINGS = ["## 输入", "## 输出", "## 示例", "## 出错时"]
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")
PICTURE_BYTES = 40_000


@pytest.fixture(scope="module")
def ours(comfy: Client) -> dict[str, Any]:
    return {name: info for name, info in comfy.object_info().items() if name.startswith("WanLite")}


def test_every_node_has_a_page_and_every_page_a_node(ours: dict[str, Any]) -> None:
    assert {page.stem for page in DOCS.glob("*.md")} == set(ours)


def test_english_is_found_at_the_first_look(ours: dict[str, Any]) -> None:
    """The page of ComfyUI asks for `NODE/en.md` before `NODE.md`; what the two say is one and the same."""
    assert {page.parent.name for page in DOCS.glob("*/en.md")} == set(ours)
    stale = [name for name in ours if english_page_of(name).read_text("utf-8") != page_of(name).read_text("utf-8")]
    assert not stale, f"en.md of {stale} is another page; run `python scripts/help_pages.py`."


def test_tables_are_those_of_the_nodes(ours: dict[str, Any]) -> None:
    stale = [
        name
        for name, info in ours.items()
        if with_tables(page_of(name).read_text("utf-8"), info) != page_of(name).read_text("utf-8")
    ]
    assert not stale, f"the tables of {stale} are not those of the nodes; run `python scripts/help_pages.py`."


def test_every_node_has_a_chinese_page(ours: dict[str, Any]) -> None:
    missing = [name for name in ours if not chinese_page_of(name).is_file()]
    assert not missing, f"web/docs/NODE/zh.md is missing for {missing}."
    assert {page.parent.name for page in DOCS.glob("*/zh.md")} == set(ours)
    for name, info in ours.items():
        page, texts = chinese_page_of(name).read_text("utf-8"), chinese_texts()[name]
        assert page.startswith(f"# {texts['display_name']}\n"), name
        assert [line for line in page.splitlines() if line.startswith("## ")] == CHINESE_HEADINGS, name
        assert PICTURE.findall(page) == PICTURE.findall(page_of(name).read_text("utf-8")), name
        assert page.split(CHINESE_HEADINGS[-1])[1].count("\n- ") >= 2, f"{name}: what goes wrong, and the remedy"
        assert with_tables(page, info, texts) == page, f"{name}: run `python scripts/help_pages.py`"


def test_pages_have_every_part(ours: dict[str, Any]) -> None:
    for name, info in ours.items():
        page = page_of(name).read_text("utf-8")
        assert page.startswith(f"# {info['display_name']}\n"), name
        assert [line for line in page.splitlines() if line.startswith("## ")] == HEADINGS, name
        assert len(PICTURE.findall(page)) >= 1, name
        assert all(f"| **{entry}**<br>" in page for entry in inputs_of(info)), name
        assert page.split(HEADINGS[-1])[1].count("\n- ") >= 2, f"{name}: what goes wrong, and the remedy"


def test_prose_names_no_input_that_is_gone(ours: dict[str, Any]) -> None:
    """A list entry of the advice begins with the inputs that it is about."""
    for name, info in ours.items():
        advice = page_of(name).read_text("utf-8").split("<!-- /inputs -->")[1].split("## Outputs")[0]
        known = {*inputs_of(info), *info["output_name"]}
        named = {word for word in re.findall(r"\*\*([a-z][a-z0-9_]*)\*\*", advice) if "_" in word or word in known}
        assert named <= known, (name, named - known)


def test_pictures_are_there_small_and_used() -> None:
    used = {DOCS / target for page in DOCS.glob("*.md") for target in PICTURE.findall(page.read_text("utf-8"))}
    assert used == set((DOCS / "pictures").iterdir())
    for picture in used:
        assert picture.stat().st_size <= PICTURE_BYTES, picture.name
        assert min(Image.open(picture).size) >= 80, picture.name


def test_the_server_hands_them_out(comfy: Client, ours: dict[str, Any]) -> None:
    for name in ours:
        address = f"{comfy.url}/extensions/wan-lite/docs"
        with urllib.request.urlopen(f"{address}/{name}.md") as answer:
            page = answer.read().decode()
        with urllib.request.urlopen(f"{address}/{name}/en.md") as answer:
            assert answer.read().decode() == page
        for target in PICTURE.findall(page):
            with urllib.request.urlopen(f"{address}/{target}") as answer:
                assert Image.open(io.BytesIO(answer.read())).format == "JPEG"
