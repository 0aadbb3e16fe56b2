"""What is written for readers holds together: links of the Markdown files, the reference that `make docs` builds."""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from wan_lite.scripts.docs import PACKAGES, build_site, find_broken_links

ROOT = Path(__file__).parents[1]
LEFT_OUT = {"out", "build", "dist"}
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")


def markdown_files() -> list[Path]:
    """Every Markdown file of the project, outside of what tools put here."""
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(
        path
        for path in files
        if not any(part.startswith(".") and part != ".github" for part in path.parts) and path.parts[0] not in LEFT_OUT
    )


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a Markdown text."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose, re.M):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


def base_of(page: Path) -> Path:
    """The folder from which a page's links count: ComfyUI's page counts those of `web/docs/NODE/en.md` from `docs`."""
    return page.parent.parent if page.parts[:2] == ("web", "docs") and len(page.parts) == 4 else page.parent


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_links_of_markdown_files_lead_somewhere(page: Path) -> None:
    for link in LINK.findall((ROOT / page).read_text("utf-8")):
        target, _, fragment = link.partition("#")
        there = ROOT / base_of(page) / target if target else ROOT / page
        assert there.exists(), f"{page}: {link} leads to no file"
        if fragment:
            assert fragment in anchors_of(there.read_text("utf-8")), f"{page}: {link} leads to no heading"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that `make docs` builds."""
    out = tmp_path_factory.mktemp("docs")
    build_site(out)
    return out


def test_the_site_has_no_broken_link(site: Path) -> None:
    assert list(find_broken_links(site)) == []


@pytest.mark.parametrize("name", PACKAGES)
def test_the_reference_holds_every_public_name(site: Path, name: str) -> None:
    """Also those that are loaded on first use, and constants, whose words stand behind their assignment."""
    page = (site / f"{name.replace('.', '/')}.html").read_text("utf-8")
    assert set(import_module(name).__all__) <= set(re.findall(r'id="(\w+)"', page))


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "here.html").write_text('<p id="top"><a href="#top">a</a><a href="there.html#end">b</a>', "utf-8")
    (tmp_path / "there.html").write_text('<img src="gone.png"><a href="https://example.org/">c</a>', "utf-8")
    assert sorted(find_broken_links(tmp_path)) == [
        "here.html: there.html#end leads to no anchor",
        "there.html: gone.png leads to no file",
    ]
