"""Make what belongs to the shipped workflows from them, through ComfyUI's own page: API forms and thumbnails.

    python scripts/workflows.py [--check] [NAME ...]

Each ``workflows/NAME.json`` is dropped onto the page of a real ComfyUI and run there; ``workflows/api/NAME.json`` is
what the page posts, ``workflows/NAME.jpg`` shows what the run made (the graph itself, where its models have to be
downloaded and no picture is there yet). With ``--check`` nothing is written, and the exit
code is 1 when a file has drifted. Needs a ComfyUI and a Chromium, as the tests do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser.page import new_page, open_browser
from browser.regenerate import derive, derive_without_run, needs_download, shipped_workflows
from host.client import Client
from host.comfyui import find_comfyui
from host.server import PACK, Server, make_base


def main() -> int:
    """Write or check the files and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="workflows without .json (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file has drifted")
    arguments = parser.parse_args()
    chosen = [path for path in shipped_workflows() if not arguments.names or path.stem in arguments.names]
    unknown = set(arguments.names) - {path.stem for path in chosen}
    if unknown:
        parser.error(f"no workflow named {', '.join(sorted(unknown))}")
    problems = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(find_comfyui(), make_base(Path(folder) / "comfyui")) as server,
        open_browser() as browser,
    ):
        for workflow in chosen:
            page = new_page(browser, server.url)
            if needs_download(workflow):
                derived = derive_without_run(page, workflow)
            else:
                derived, _ = derive(page, Client(server), workflow)
            page.page.context.close()
            said = derived.drift(workflow) if arguments.check else derived.write(workflow)
            lines = [str(item.relative_to(PACK)) + " written" if isinstance(item, Path) else item for item in said]
            print("\n".join([f"{workflow.stem}: {line}" for line in lines] or [f"{workflow.stem}: as it should be"]))
            problems += len(said) if arguments.check else 0
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
