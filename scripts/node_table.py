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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from host.client import Client
from host.comfyui import find_comfyui
from host.server import PACK, Server, make_base

TABLE = PACK / "check" / "graph" / "node_table.json"
TYPES = {"MODEL", "SIGMAS", "LATENT", "VAE", "CLIP", "GUIDER", "CONDITIONING", "SAMPLER", "NOISE", "COMFY_MATCHTYPE_V3"}
OURS = {"SAMPLING_CONTRACT", "WORLD_MODEL", "WORLD_ACTIONS"}
ALSO = {"ComfyMathExpression", "ComfyNumberConvert", "CustomCombo", "ResolutionSelector", "GetImageSize"}
ALSO |= {"PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString", "PrimitiveStringMultiline"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COLOR"}
SEEDS = ("seed", "noise_seed")


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
    lines = [f"  {json.dumps(name)}: {json.dumps(row(entry))}" for name, entry in sorted(kept.items())]
    return f'{{"comfyui": {json.dumps(version)}, "nodes": {{\n' + ",\n".join(lines) + "\n}}\n"


def is_wanted(name: str, entry: dict[str, Any]) -> bool:
    """Whether a node has to do with sampling, or makes values for one that has."""
    types = {kind for _, kind, *_ in inputs_of(entry["input"])} | set(map(str, entry["output"]))
    return name in ALSO or bool(types & TYPES) or (name.startswith("WanLite") and bool(types & OURS))


def row(entry: dict[str, Any]) -> dict[str, list[Any]]:
    """Return one node's inputs and outputs."""
    return {"in": list(inputs_of(entry["input"])), "out": list(map(str, entry["output"]))}


def inputs_of(inputs: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield [name, type, stored values, choices]; what is zero or empty at the end is left out."""
    for part in ("required", "optional"):
        for name, (kind, *options) in (inputs.get(part) or {}).items():
            settings = options[0] if options else {}
            kind = kind if isinstance(kind, str) else "COMBO"
            stored = stored_values(name, kind, settings)
            if kind == "COMFY_DYNAMICCOMBO_V3":
                yield [name, kind, 1, {o["key"]: list(inputs_of(o["inputs"])) for o in settings["options"]}]
            else:
                yield [name, kind, stored] if stored else [name, kind]


def stored_values(name: str, kind: str, settings: dict[str, Any]) -> int:
    """Return how many values of an input a saved node holds."""
    if settings.get("widgetType", kind) not in WIDGETS or settings.get("forceInput"):
        return 0
    has_control = settings.get("control_after_generate", kind == "INT" and name in SEEDS)
    has_upload = any(settings.get(f"{what}_upload") for what in ("image", "video", "audio"))
    return 1 + bool(has_control) + has_upload


if __name__ == "__main__":
    sys.exit(main())
