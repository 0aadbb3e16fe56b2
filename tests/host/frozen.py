"""The nodes and workflows as they were released, and what today's may not change about them.

Saved workflows name nodes by id and inputs by name, and store widgets by position. So ids, names, types and the order
of widgets and outputs are public; only additions at the end are free.
"""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from host.server import PACK, VECTORS

FROZEN = VECTORS / "host"
NODES_FILE = FROZEN / "object_info.json"
WORKFLOWS_FOLDER = FROZEN / "workflows"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
REPLACE = "add an entry to RENAMED in nodes/renamed.py, so that saved workflows still run"
REMOVED: dict[str, Any] = json.loads((PACK / "web" / "removed_inputs.json").read_text("utf-8"))
"""Inputs that were removed on purpose, by node id: the pack takes them out of saved graphs before they are used."""


def public_part(info: dict[str, Any]) -> dict[str, Any]:
    """What a saved workflow depends on, out of a node's entry in ``/object_info``."""
    links: list[list[str]] = []
    widgets: list[list[str]] = []
    for part in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(part, {}).items():
            settings = options[0] if options else {}
            if (isinstance(kind, list) or kind in WIDGETS) and not settings.get("forceInput"):
                widgets.append([name, "COMBO" if isinstance(kind, list) else kind])
                if settings.get("control_after_generate"):
                    widgets.append([f"{name} control", "COMBO"])
            else:
                links.append([name, kind])
    return {
        "widgets": widgets,
        "links": links,
        "outputs": [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)],
        "required": list(info["input"].get("required", {})),
    }


def public_parts(known: dict[str, Any]) -> dict[str, Any]:
    """The same for every node of the pack, by id."""
    return {name: public_part(info) for name, info in sorted(known.items()) if name.startswith("WanLite")}


def broken_promises(frozen: dict[str, Any], now: dict[str, Any], replaced: Set[str] = frozenset()) -> list[str]:
    """A sentence for everything that would break a workflow saved with the released nodes.

    Args:
        frozen, now: public parts by node id. replaced: ids that the pack has registered a replacement for.
    """
    found = []
    for node_id, old in frozen.items():
        if node_id not in now:
            if node_id not in replaced:
                found.append(f"{node_id} is gone or has another id; {REPLACE}.")
            continue
        old, new = without_removed(node_id, old), now[node_id]
        found += _lost_links(node_id, old["links"], new["links"] + new["widgets"])
        found += _moved(node_id, "widget", old["widgets"], new["widgets"])
        found += _moved(node_id, "output", old["outputs"], new["outputs"])
        known = {name for name, _ in old["links"] + old["widgets"]}
        found += [
            f"{node_id}: input {name} is new and required, so graphs in API form that were made with the release lack "
            "it; make it optional."
            for name in new["required"]
            if name not in known
        ]
    return found


def without_removed(node_id: str, part: dict[str, Any]) -> dict[str, Any]:
    """A node's public part without the inputs that were removed on purpose."""
    names = REMOVED.get(node_id, {}).get("removed", [])
    kept = {key: [entry for entry in part[key] if entry[0] not in names] for key in ("widgets", "links")}
    return {**part, **kept, "required": [name for name in part["required"] if name not in names]}


def _lost_links(node_id: str, old: list[list[str]], new: list[list[str]]) -> list[str]:
    types = dict(new)
    found = []
    for name, kind in old:
        if name not in types:
            found.append(f"{node_id}: input {name} is gone or has another name; give it its name back, or {REPLACE}.")
        elif types[name] != kind:
            found.append(f"{node_id}: input {name} takes {types[name]} where the release took {kind}.")
    return found


def _moved(node_id: str, what: str, old: list[list[str]], new: list[list[str]]) -> list[str]:
    for position, entry in enumerate(old):
        if position >= len(new) or new[position] != entry:
            there = " ".join(new[position]) if position < len(new) else "nothing"
            return [
                f"{node_id}: {what} {position} was {' '.join(entry)} and is {there}; workflows store {what}s by "
                "position, so put it back in its place and append new ones at the end."
            ]
    return []


def workflow_problems(graph: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A sentence for every node of a saved graph whose values or links today's nodes would not understand."""
    found = []
    for node in graph["nodes"]:
        if not node["type"].startswith("WanLite"):
            continue
        new = now.get(node["type"])
        if new is None:
            found.append(f"{node['type']}: unknown today.")
            continue
        stored = len(node.get("widgets_values", []))
        if stored > len(new["widgets"]) and stored != len(REMOVED.get(node["type"], {}).get("widgets", [])):
            found.append(f"{node['type']}: {stored} saved values for {len(new['widgets'])} widgets.")
        names = {name for name, _ in new["links"] + new["widgets"]}
        found += [
            f"{node['type']}: no input {entry['name']}." for entry in node["inputs"] if entry["name"] not in names
        ]
        kinds = [kind for _, kind in new["outputs"]]
        if [entry["type"] for entry in node["outputs"]] != kinds[: len(node["outputs"])]:
            found.append(f"{node['type']}: its outputs have changed.")
    return found


def read(path: Path) -> dict[str, Any]:
    """A frozen file."""
    return dict(json.loads(path.read_text("utf-8")))
