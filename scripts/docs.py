"""Build the reference: the public names from their docstrings, and the Markdown pages; then check every link.

    python scripts/docs.py [--out FOLDER]

Needs the extra ``docs``. Nothing is fetched, and the pages work from disk. The exit code is 1 when a link is broken.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pdoc.doc
import pdoc.doc_ast
import pdoc.render
from pdoc.render_helpers import to_html

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("wan_lite.models", "wan_lite.samplers", "wan_lite.pipeline")
"""The public packages; each lists its names in ``__all__``."""

SECTIONS = {
    "Guides": ("README.md", "docs/*.md", "demo/README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    "Nodes": ("web/docs/*.md",),
    "Notes": ("docs/notes/*.md",),
}
"""The Markdown pages of the site under the headings of its sidebar."""

LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
"""Target and fragment of a Markdown link to somewhere in the repository."""


def main() -> int:
    """Build the site and check it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "docs", help="folder of the site (replaced)")
    out = parser.parse_args().out
    build_site(out)
    broken = list(find_broken_links(out))
    print("\n".join(broken) or f"{len(list(out.rglob('*.html')))} pages, no broken link: {out / 'index.html'}")
    return 1 if broken else 0


def build_site(out: Path) -> None:
    """Write the whole site into ``out``, in place of what was there."""
    shutil.rmtree(out, ignore_errors=True)
    pdoc.render.configure(docformat="google", template_directory=ROOT / "scripts" / "site", favicon="")
    sections = {title: pages_of(title) for title in SECTIONS}
    pdoc.render.env.globals["sections"] = sections
    modules = {name: read_package(name) for name in PACKAGES}
    for name, module in modules.items():
        write_text(out / f"{name.replace('.', '/')}.html", pdoc.render.html_module(module, modules))
    write_text(out / "search.js", pdoc.render.search_index(modules))
    for pages in sections.values():
        for page in pages:
            write_page(out, page, modules)


# -- the reference -----------------------------------------------------------------------------------------------------


def read_package(name: str) -> pdoc.doc.Module:
    """Return a package as pdoc sees it, with names that load on first use loaded, and constants documented."""
    package = import_module(name)
    for public in package.__all__:
        getattr(package, public)
    module = pdoc.doc.Module(package)
    # pdoc looks for the types of a NamedTuple's fields in the package that lists it, not where it was written.
    warnings.filterwarnings("ignore", "Error parsing type annotation ForwardRef", UserWarning)
    docstrings = constant_docstrings(name)
    for member in module.members.values():
        if isinstance(member, pdoc.doc.Variable) and not member.docstring:
            member.docstring = docstrings.get(member.name, "")
    return module


def constant_docstrings(package: str) -> dict[str, str]:
    """Return the text behind each assignment in the loaded modules of a package, by the name assigned to."""
    found: dict[str, str] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith(f"{package}.") and getattr(module, "__file__", None):
            found |= pdoc.doc_ast.walk_tree(module).var_docstrings
    return found


# -- the Markdown pages ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """A Markdown file of the repository and its place on the site."""

    source: Path
    title: str

    @property
    def href(self) -> str:
        """Path of the page below the site's root; the README is the site's first page."""
        name = self.source.relative_to(ROOT).with_suffix(".html").as_posix()
        return "index.html" if name == "README.html" else name


def pages_of(section: str) -> list[Page]:
    """Return the pages of one section of the sidebar."""
    sources = [path for pattern in SECTIONS[section] for path in sorted(ROOT.glob(pattern))]
    return [Page(source, source.read_text("utf-8").split("\n", 1)[0].lstrip("# ")) for source in sources]


def write_page(out: Path, page: Page, modules: Mapping[str, pdoc.doc.Module]) -> None:
    """Write one Markdown page as HTML, with the files that it shows."""
    folder = page.source.parent
    text = LINK.sub(lambda found: site_link(out, folder, found[1]) + (found[2] or ""), page.source.read_text("utf-8"))
    depth = page.href.count("/")
    html = pdoc.render.env.get_template("page.html.jinja2").render(
        title=page.title, content=to_html(text), to_root="../" * depth, modules=modules
    )
    write_text(out / page.href, html)


def site_link(out: Path, folder: Path, target: str) -> str:
    """Return where a link of a page in ``folder`` leads on the site; an image is copied, other files stay outside."""
    path = (folder / unquote(target)).resolve()
    name = path.relative_to(ROOT)
    known = {page.source: page.href for section in SECTIONS for page in pages_of(section)}
    if path in known:
        return Path(os.path.relpath(known[path], folder.relative_to(ROOT))).as_posix()
    if path.suffix in (".jpg", ".png", ".webp", ".svg"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)
        return target
    return f"{repository()}/{'tree' if path.is_dir() else 'blob'}/main/{name.as_posix()}"


def repository() -> str:
    """Return the project's address, as ``pyproject.toml`` states it."""
    found = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert found, "pyproject.toml names no Repository"
    return found[1]


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


# -- links -------------------------------------------------------------------------------------------------------------


@dataclass
class Links(HTMLParser):
    """The links and the anchors of one HTML page."""

    targets: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag names and where it leads."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.targets.append(value)


def find_broken_links(site: Path) -> Iterator[str]:
    """Yield one line for each link that leads to no file of the site, or to no anchor of its page."""
    pages = {path.resolve(): read_links(path) for path in site.rglob("*.html")}
    for path, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file():
                yield f"{path.relative_to(site.resolve())}: {target} leads to no file"
            elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].anchors:
                yield f"{path.relative_to(site.resolve())}: {target} leads to no anchor"


def read_links(path: Path) -> Links:
    """Return the links and anchors of a file."""
    links = Links()
    links.feed(path.read_text("utf-8"))
    return links


if __name__ == "__main__":
    sys.exit(main())
