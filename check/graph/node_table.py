"""What the nodes of ComfyUI and of this pack take: names, types and widgets of their inputs, types of their outputs.

A workflow file stores widget values by position and often without names; without a server they are read from
``node_table.json``, which ``scripts/node_table.py`` writes from a running ComfyUI.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath
from typing import Any

__all__ = ["Input", "NodeType", "find_type"]

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


def find_type(name: str) -> NodeType | None:
    """Return a node's type, or None for a node that the table does not have."""
    entry = _read_table().get(name)
    return None if entry is None else _read_node_type(name)


@cache
def _read_node_type(name: str) -> NodeType:
    entry = _read_table()[name]
    return NodeType(tuple(map(_read_input, entry["in"])), tuple(entry["out"]))


def _read_input(entry: list[Any]) -> Input:
    name, kind, *rest = entry
    widgets = rest[0] if rest else 0
    options = {key: tuple(map(_read_input, inner)) for key, inner in rest[1].items()} if len(rest) > 1 else None
    return Input(name, kind, widgets, options)


@cache
def _read_table() -> dict[str, Any]:
    nodes: dict[str, Any] = json.loads(TABLE.read_text("utf-8"))["nodes"]
    return nodes
