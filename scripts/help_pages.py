"""Bring the tables in ``web/docs/*.md`` in line with the nodes, as a real ComfyUI describes them.

    python scripts/help_pages.py [--check]

The prose of a page is written by hand; what stands between ``<!-- inputs -->`` and ``<!-- /inputs -->``, and the same
for outputs, is made from ``/object_info``; ``web/docs/NODE/en.md``, where an English ComfyUI looks first, is the same
page once more. With ``--check`` nothing is written, and the exit code is 1 when a page is
stale.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from host.client import Client
from host.comfyui import find_comfyui
from host.help_pages import english_page_of, page_of, with_tables
from host.server import PACK, Server, make_base


def main() -> int:
    """Write or check the pages and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "comfyui", with_models=False)
        with Server(find_comfyui(), base) as server:
            known = Client(server).object_info()
    stale = 0
    for node_id in sorted(name for name in known if name.startswith("WanLite")):
        wanted = with_tables(page_of(node_id).read_text("utf-8"), known[node_id])
        for page in (page_of(node_id), english_page_of(node_id)):
            if not page.is_file() or page.read_text("utf-8") != wanted:
                stale += 1
                print(f"{page.relative_to(PACK)}: {'stale' if check else 'written'}")
                if not check:
                    page.parent.mkdir(exist_ok=True)
                    page.write_text(wanted, "utf-8")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
