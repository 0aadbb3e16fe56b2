"""Record what ComfyUI's own page makes of its workflow templates: ``tests/vectors/check/templates.json``.

    python scripts/record_templates.py

Every template of the installed ``comfyui_workflow_templates*`` packages is opened in the page, and node ids, classes
and links of its ``graphToPrompt`` are kept: as hashes, and in full for a few. Nothing of a template's content is kept.
Needs a ComfyUI and a Chromium, as the tests do; takes about ten minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser.page import new_page, open_browser
from host.comfyui import find_comfyui
from host.server import VECTORS, Server, make_base
from host.templates import digest, file_digest, find_templates, links_of, values_of

RECORDING = VECTORS / "check" / "templates.json"
IN_FULL = 12
PAGES = 40  # templates that one page opens before it is replaced by a fresh one
OPEN = """async graph => {
    await app.loadGraphData(graph, true, false, null, {showMissingNodesDialog: false, showMissingModelsDialog: false});
    return (await app.graphToPrompt()).output;
}"""
VERSION = "() => window.__COMFYUI_FRONTEND_VERSION__ ?? ''"


def main() -> int:
    """Write the recording; returns the exit code."""
    comfyui = find_comfyui()
    paths = find_templates(comfyui)
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(comfyui, make_base(Path(folder) / "comfyui", with_models=False), api_nodes=True) as server,
        open_browser() as browser,
    ):
        prompts: dict[str, dict[str, Any]] = {}
        for start in range(0, len(paths), PAGES):
            page = new_page(browser, server.url)
            frontend = str(page.page.evaluate(VERSION))
            for path in paths[start : start + PAGES]:
                prompts[path.stem] = page.page.evaluate(OPEN, json.loads(path.read_text("utf-8")))
            page.page.context.close()
            print(f"{min(start + PAGES, len(paths))} of {len(paths)}")
    rows = {path.stem: record(prompts[path.stem], file_digest(path)) for path in paths}
    step = len(paths) // IN_FULL
    full = {path.stem: links_of(prompts[path.stem]) for path in paths[::step][:IN_FULL]}
    RECORDING.parent.mkdir(parents=True, exist_ok=True)
    RECORDING.write_text(written(comfyui.version, frontend, rows, full), "utf-8")
    return 0


def record(prompt: dict[str, Any], file: str) -> dict[str, Any]:
    """Return what is kept of one template; ``unknown`` are nodes that the page itself has no class for."""
    links = links_of(prompt)
    unknown = sorted(key for key, (kind, _) in links.items() if kind is None)
    row = {"file": file, "nodes": len(links), "graph": digest(links), "values": digest(values_of(prompt))}
    return row | ({"unknown": unknown} if unknown else {})


def written(comfyui: str, frontend: str, rows: dict[str, Any], full: dict[str, Any]) -> str:
    """Return the file's text, a line for each template."""
    lines = [
        ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in part.items()) for part in (rows, full)
    ]
    head = f'{{"comfyui": {json.dumps(comfyui)}, "frontend": {json.dumps(frontend)},\n'
    return f'{head}"templates": {{\n{lines[0]}\n}},\n"in_full": {{\n{lines[1]}\n}}}}\n'


if __name__ == "__main__":
    sys.exit(main())
