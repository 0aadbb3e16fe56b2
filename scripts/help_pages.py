"""Bring the tables in ``web/docs/*.md`` and the English texts in line with the nodes, as a real ComfyUI describes them.

    python scripts/help_pages.py [--check]

The prose of a page is written by hand; what stands between ``<!-- inputs -->`` and ``<!-- /inputs -->``, and the same
for outputs, is made from ``/object_info``; ``web/docs/NODE/en.md``, where an English ComfyUI looks first, is the same
page once more, ``web/docs/NODE/zh.md`` the Chinese one, with tables from ``locales/zh/nodeDefs.json``;
``locales/en/nodeDefs.json`` holds the nodes' own texts for translators. With ``--check`` nothing is
written, and the exit code is 1 when a file is stale.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from host.client import Client
from host.comfyui import find_comfyui
from host.help_pages import (
    ENGLISH,
    chinese_page_of,
    chinese_texts,
    english_locale,
    english_page_of,
    page_of,
    with_tables,
)
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
    ours = {name: info for name, info in sorted(known.items()) if name.startswith("WanLite")}
    wanted = {ENGLISH: english_locale(ours)}
    chinese = chinese_texts()
    for node_id, info in ours.items():
        page = with_tables(page_of(node_id).read_text("utf-8"), info)
        wanted |= {page_of(node_id): page, english_page_of(node_id): page}
        there = chinese_page_of(node_id)
        if there.is_file() and node_id in chinese:
            wanted[there] = with_tables(there.read_text("utf-8"), info, chinese[node_id])
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(PACK)}: {'stale' if check else 'written'}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], "utf-8")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
