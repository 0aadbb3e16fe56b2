"""Take the pictures of the nodes for the help pages: ``web/docs/pictures/NODE.jpg``, in ComfyUI's own page.

    python scripts/help_pictures.py [NODE ...]

A node is shown as it stands in the first shipped workflow that has it, after a run of that workflow; a node that no
workflow has is shown alone. Needs a ComfyUI and a Chromium, as the tests do.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser.page import ComfyPage, new_page, open_browser
from browser.portraits import create, portrait
from browser.regenerate import needs_download, shipped_workflows
from host.client import Client
from host.comfyui import find_comfyui
from host.help_pages import DOCS
from host.server import PACK, Server, make_base


def main() -> int:
    """Write the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="ids of nodes (default: all)")
    chosen = parser.parse_args().nodes
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(find_comfyui(), make_base(Path(folder) / "comfyui")) as server,
        open_browser() as browser,
    ):
        known = {name for name in Client(server).object_info() if name.startswith("WanLite")}
        if unknown := set(chosen) - known:
            parser.error(f"no node of this pack is called {', '.join(sorted(unknown))}")
        for workflow, nodes in by_workflow(chosen or known).items():
            page = new_page(browser, server.url)
            take(page, workflow, nodes)
            page.page.context.close()
    return 0


def by_workflow(nodes: Iterable[str]) -> dict[Path | None, list[str]]:
    """Return the nodes to take in each workflow; under None those that no workflow has."""
    found: dict[Path | None, list[str]] = defaultdict(list)
    workflows = sorted(shipped_workflows(), key=needs_download)
    kinds = {path: set(list_unfolded(path)) for path in workflows}
    for node in sorted(nodes):
        found[next((path for path in workflows if node in kinds[path]), None)].append(node)
    return found


def list_unfolded(workflow: Path) -> dict[str, int]:
    """Node types of a workflow, with the id of the first that is not folded to its title."""
    nodes = json.loads(workflow.read_text("utf-8"))["nodes"]
    return {node["type"]: node["id"] for node in reversed(nodes) if not node["flags"].get("collapsed")}


def take(page: ComfyPage, workflow: Path | None, nodes: list[str]) -> None:
    """Open a workflow, run it where its models are at hand, and write the pictures of some of its nodes."""
    if workflow:
        page.drop(workflow)
        if not needs_download(workflow):
            page.run()
    ids = list_unfolded(workflow) if workflow else {}
    for node in nodes:
        picture = DOCS / "pictures" / f"{node}.jpg"
        picture.write_bytes(portrait(page, ids[node] if node in ids else create(page, node)))
        print(f"{picture.relative_to(PACK)} written")


if __name__ == "__main__":
    sys.exit(main())
