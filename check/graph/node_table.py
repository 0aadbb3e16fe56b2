"""What the nodes of ComfyUI and of this pack take: names, types and widgets of their inputs, types of their outputs.

A workflow file stores widget values by position and often without names; without a server they are read from
``node_table.json``, which ``scripts/node_table.py`` writes from a running ComfyUI.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath
from typing import Any, TypeAlias

__all__ = ["Input", "NodeType", "NodeTypes", "find_type", "make_row", "make_type"]

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COLOR"}
SEEDS = ("seed", "noise_seed")
TABLE = FilePath(__file__).with_name("node_table.json")


@dataclass(frozen=True)
class Input:
    """One input: ``widgets`` is the number of stored values it takes (0: a socket; 2: with "control after generate").

    ``options`` holds the further inputs that each choice of a dynamic combo brings.
    """

    name: str
    type: str
    widgets: int = 0
    options: dict[str, tuple[Input, ...]] | None = None


@dataclass(frozen=True)
class NodeType:
    """A type of nodes."""

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]

    def input(self, name: str) -> Input | None:
        """Return the input of this name."""
        return next((entry for entry in self.inputs if entry.name == name), None)

    def sockets(self, kind: str) -> list[str]:
        """Return the names of the inputs of one type."""
        return [entry.name for entry in self.inputs if entry.type == kind]


NodeTypes: TypeAlias = Mapping[str, NodeType]
"""Types by name."""


def find_type(name: str) -> NodeType | None:
    """Return a node's type, or None for a node that the table does not have."""
    entry = _read_table().get(name)
    return None if entry is None else _read_node_type(name)


def make_type(entry: Mapping[str, Any]) -> NodeType:
    """Return a node's type from what a server's ``/object_info`` says of it."""
    return _parse_row(make_row(entry))


def make_row(entry: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return one node's inputs and outputs, as the table holds them, from ``/object_info``."""
    return {"in": list(_list_inputs(entry["input"])), "out": list(map(str, entry["output"]))}


def _list_inputs(inputs: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield [name, type, stored values, choices]; what is zero or empty at the end is left out."""
    for part in ("required", "optional"):
        for name, (kind, *options) in (inputs.get(part) or {}).items():
            settings = options[0] if options else {}
            kind = kind if isinstance(kind, str) else "COMBO"
            stored = _count_stored(name, kind, settings)
            if kind == "COMFY_DYNAMICCOMBO_V3":
                yield [name, kind, 1, {o["key"]: list(_list_inputs(o["inputs"])) for o in settings["options"]}]
            else:
                yield [name, kind, stored] if stored else [name, kind]


def _count_stored(name: str, kind: str, settings: Mapping[str, Any]) -> int:
    """Return how many values of an input a saved node holds."""
    if settings.get("widgetType", kind) not in WIDGETS or settings.get("forceInput"):
        return 0
    has_control = settings.get("control_after_generate", kind == "INT" and name in SEEDS)
    has_upload = any(settings.get(f"{what}_upload") for what in ("image", "video", "audio"))
    return 1 + bool(has_control) + has_upload


@cache
def _read_node_type(name: str) -> NodeType:
    return _parse_row(_read_table()[name])


def _parse_row(row: Mapping[str, Any]) -> NodeType:
    return NodeType(tuple(map(_read_input, row["in"])), tuple(row["out"]))


def _read_input(entry: list[Any]) -> Input:
    name, kind, *rest = entry
    widgets = rest[0] if rest else 0
    options = {key: tuple(map(_read_input, inner)) for key, inner in rest[1].items()} if len(rest) > 1 else None
    return Input(name, kind, widgets, options)


@cache
def _read_table() -> dict[str, Any]:
    nodes: dict[str, Any] = json.loads(TABLE.read_text("utf-8"))["nodes"]
    return nodes
