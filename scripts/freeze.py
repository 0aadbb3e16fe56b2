"""Freeze today's nodes and workflows as released: ``tests/vectors/host``, which the tests hold later ones against.

    python scripts/freeze.py

Only additions are frozen; where something public has changed, nothing is written and the reasons are printed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from host.client import Client
from host.comfyui import find_comfyui
from host.frozen import FROZEN, NODES_FILE, WORKFLOWS_FOLDER, broken_promises, public_parts, read
from host.server import PACK, Server, make_base


def main() -> int:
    """Write the files and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "comfyui", with_models=False)
        with Server(find_comfyui(), base) as server:
            client = Client(server)
            now = public_parts(client.object_info())
            replaced = set(client.get_json("/api/node_replacements"))
    before = read(NODES_FILE) if NODES_FILE.is_file() else {}
    problems = broken_promises(before, now, replaced)
    if problems:
        print("\n".join(problems))
        return 1
    FROZEN.mkdir(parents=True, exist_ok=True)
    NODES_FILE.write_text(compact({**before, **now}), "utf-8")
    WORKFLOWS_FOLDER.mkdir(exist_ok=True)
    for workflow in sorted((PACK / "workflows").glob("*.json")):
        if not (WORKFLOWS_FOLDER / workflow.name).exists():  # a released workflow stays as it was
            shutil.copyfile(workflow, WORKFLOWS_FOLDER / workflow.name)
    return 0


def compact(parts: dict[str, object]) -> str:
    """Return JSON with a line for each list of a node, so that a change shows in a diff."""
    nodes = []
    for name, part in sorted(parts.items()):
        assert isinstance(part, dict)
        lines = ",\n".join(f'    "{key}": {json.dumps(value)}' for key, value in part.items())
        nodes.append(f'  "{name}": {{\n{lines}\n  }}')
    return "{\n" + ",\n".join(nodes) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
