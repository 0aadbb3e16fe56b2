"""The page's own format (nodes with positions, links in a list, subgraphs as definitions), as it stands in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from .graph import Path, WorkflowError
from .node_table import NodeType, NodeTypes, find_type
from .widgets import name_widgets

__all__ = ["BYPASSED", "DEEPEST", "INPUT_NODE", "MUTED", "OUTPUT_NODE", "Definition", "RawLink", "RawNode", "Slot"]
__all__ += ["read_ui"]

MUTED, BYPASSED = 2, 4
DEEPEST = 50
"""How deep subgraphs may lie within each other."""
INPUT_NODE, OUTPUT_NODE = "-10", "-20"
"""Ids that stand for a subgraph's own inputs and outputs."""


class RawLink(NamedTuple):
    """A link as it is stored."""

    origin: str
    slot: int
    target: str
    target_slot: int


class Slot(NamedTuple):
    """An input of a stored node."""

    name: str
    type: str
    link: int | None
    is_widget: bool


@dataclass
class RawNode:
    """A node as it is stored; ``values`` holds input name -> key in ``widgets_values``."""

    id: str
    type: str
    title: str
    mode: int
    slots: list[Slot]
    outputs: list[str]
    widgets_values: Any
    values: dict[str, str | int]
    path: Path
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Definition:
    """The root graph, or a subgraph that nodes of its id are made from."""

    name: str
    nodes: dict[str, RawNode]
    links: dict[int, RawLink]
    inputs: dict[str, int | None] = field(default_factory=dict)
    """Names of a subgraph's inputs, in order, with the first link from each."""
    outputs: list[int | None] = field(default_factory=list)
    """The link that ends in each output."""
    instances: int = 1
    """How many nodes are made from it."""

    def is_widget(self, name: str) -> bool:
        """Whether a subgraph's input stands for a widget inside of it."""
        number = self.inputs[name]
        link = self.links.get(number) if number is not None else None
        raw = self.nodes.get(link.target) if link else None
        return raw is not None and any(slot.link == number and slot.is_widget for slot in raw.slots)


def read_ui(document: Mapping[str, Any], types: NodeTypes) -> tuple[Definition, dict[str, Definition]]:
    """Return the root graph and the subgraphs by id; ``types`` go before the shipped table of types.

    Raises:
        WorkflowError: Parts of the document have another form than the page writes.
    """
    try:
        stored = (document.get("definitions") or {}).get("subgraphs") or []
        subgraphs = {
            str(entry["id"]): _read_definition(entry, ("definitions", "subgraphs", index), types)
            for index, entry in enumerate(stored)
        }
        root = _read_definition(document, (), types)
        _renumber(root, subgraphs.values(), int(document.get("last_node_id") or 0))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise WorkflowError(f"a node or link has an unknown form ({type(error).__name__}: {error}).") from None
    _count_instances(root, subgraphs)
    for definition in (root, *subgraphs.values()):
        for raw in definition.nodes.values():
            if raw.type in subgraphs:
                raw.values = _name_promoted_values(raw, subgraphs[raw.type])
    return root, subgraphs


def _name_promoted_values(raw: RawNode, definition: Definition) -> dict[str, str | int]:
    """Name the values that the node of a subgraph holds for widgets inside of it."""
    count = len(raw.widgets_values) if isinstance(raw.widgets_values, list) else 0
    return dict(zip(filter(definition.is_widget, definition.inputs), range(count), strict=False))


def _count_instances(root: Definition, subgraphs: Mapping[str, Definition]) -> None:
    for definition in subgraphs.values():
        definition.instances = 0
    for definition in (root, *subgraphs.values()):
        for node in definition.nodes.values():
            if node.type in subgraphs:
                subgraphs[node.type].instances += 1


def _renumber(root: Definition, subgraphs: Iterable[Definition], last: int) -> None:
    """Give nodes in subgraphs whose id is taken the next free one, as the page does when it opens a file."""
    taken = set(root.nodes)
    for definition in subgraphs:
        renamed: dict[str, str] = {}
        for raw in definition.nodes.values():
            if raw.id in taken:
                last = next(number for number in count(last + 1) if str(number) not in taken)
                renamed[raw.id] = str(last)
                raw.id = str(last)
            elif raw.id.isdigit():
                last = max(last, int(raw.id))
            taken.add(raw.id)
        if renamed:
            definition.nodes = {raw.id: raw for raw in definition.nodes.values()}
            definition.links = {number: _rename_link(link, renamed) for number, link in definition.links.items()}


def _rename_link(link: RawLink, names: Mapping[str, str]) -> RawLink:
    return link._replace(origin=names.get(link.origin, link.origin), target=names.get(link.target, link.target))


def _read_definition(stored: Mapping[str, Any], path: Path, types: NodeTypes) -> Definition:
    nodes = [_read_node(entry, (*path, "nodes", index), types) for index, entry in enumerate(stored["nodes"])]
    links = dict(map(_read_link, stored.get("links") or []))
    outputs = list(map(_find_first_link, stored.get("outputs") or [])) if path else []
    inputs = {str(entry["name"]): _find_first_link(entry) for entry in stored.get("inputs") or []} if path else {}
    return Definition(str(stored.get("name", "")), {node.id: node for node in nodes}, links, inputs, outputs)


def _find_first_link(stored: Mapping[str, Any]) -> int | None:
    links = stored.get("linkIds")
    return int(links[0]) if links else None


def _read_link(stored: Any) -> tuple[int, RawLink]:
    """Return a link's id and itself; links are lists in the root graph and tables in subgraphs."""
    if isinstance(stored, Mapping):
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        number, origin, slot, target, target_slot = (stored[key] for key in keys)
    else:
        number, origin, slot, target, target_slot = stored[:5]
    return int(number), RawLink(str(origin), int(slot), str(target), int(target_slot))


def _read_node(stored: Mapping[str, Any], path: Path, types: NodeTypes) -> RawNode:
    kind = str(stored["type"])
    known, slots = types.get(kind) or find_type(kind), stored.get("inputs") or []
    values = stored.get("widgets_values")
    return RawNode(
        id=str(stored["id"]),
        type=kind,
        title=str(stored.get("title") or kind),
        mode=int(stored.get("mode") or 0),
        slots=_sort_inputs(list(map(_read_slot, slots)), known),
        outputs=[str(entry.get("type")) for entry in stored.get("outputs") or []],
        widgets_values=values,
        values=name_widgets(values, known, slots),
        path=path,
        properties=stored.get("properties") or {},
    )


def _read_slot(stored: Mapping[str, Any]) -> Slot:
    link = stored.get("link")
    kind = stored.get("type")
    kind = ",".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    return Slot(str(stored.get("name")), kind, None if link is None else int(link), bool(stored.get("widget")))


def _sort_inputs(slots: list[Slot], known: NodeType | None) -> list[Slot]:
    """Put the inputs in the order of the node's type: a file leaves out those widgets that nothing is linked to."""
    if known is None:
        return slots
    stored = {slot.name: slot for slot in slots}
    defined = [
        stored.pop(entry.name, Slot(entry.name, entry.type, None, entry.widgets > 0))
        for entry in known.inputs
        if entry.name in stored or entry.type != "COMFY_AUTOGROW_V3"
    ]
    return defined + [slot for slot in slots if slot.name in stored]
