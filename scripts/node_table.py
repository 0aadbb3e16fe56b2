"""Write ``check/graph/node_table.json`` from a running ComfyUI: names, types and widgets of core's nodes and ours.

    python scripts/node_table.py [--check]

Only nodes that have to do with sampling are kept, and those that make the values these take. With ``--check`` nothing
is written, and the exit code is 1 when the file has drifted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from host.client import Client
from host.comfyui import find_comfyui
from host.server import PACK, Server, make_base
from wan_lite.check.graph.node_table import make_row

TABLE = PACK / "check" / "graph" / "node_table.json"
TYPES = {"MODEL", "SIGMAS", "LATENT", "VAE", "CLIP", "GUIDER", "CONDITIONING", "SAMPLER", "NOISE", "COMFY_MATCHTYPE_V3"}
OURS = {"SAMPLING_CONTRACT", "WORLD_MODEL", "WORLD_ACTIONS"}
ALSO = {"ComfyMathExpression", "ComfyNumberConvert", "CustomCombo", "ResolutionSelector", "GetImageSize"}
ALSO |= {"PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString", "PrimitiveStringMultiline"}


def main() -> int:
    """Write or check the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file has drifted")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        comfyui = find_comfyui()
        with Server(comfyui, make_base(Path(folder) / "comfyui", with_models=False)) as server:
            text = make_table(Client(server).object_info(), comfyui.version)
    if arguments.check:
        return 0 if TABLE.read_text("utf-8") == text else 1
    TABLE.write_text(text, "utf-8")
    return 0


def make_table(object_info: dict[str, Any], version: str) -> str:
    """Return the file's text, a line for each node."""
    kept = {name: entry for name, entry in object_info.items() if is_wanted(name, entry)}
    lines = [f"  {json.dumps(name)}: {json.dumps(make_row(entry))}" for name, entry in sorted(kept.items())]
    return f'{{"comfyui": {json.dumps(version)}, "nodes": {{\n' + ",\n".join(lines) + "\n}}\n"


def is_wanted(name: str, entry: dict[str, Any]) -> bool:
    """Whether a node has to do with sampling, or makes values for one that has."""
    types = {kind for _, kind, *_ in make_row(entry)["in"]} | set(map(str, entry["output"]))
    return name in ALSO or bool(types & TYPES) or (name.startswith("WanLite") and bool(types & OURS))


if __name__ == "__main__":
    sys.exit(main())
