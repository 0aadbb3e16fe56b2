"""From the page's own format to the nodes that run, by the rules of the page's ``graphToPrompt``.

Subgraphs are taken apart, reroutes and primitives vanish, a bypassed node passes on its first input of a fitting type,
and a muted one passes on nothing.

Source: ComfyUI_frontend 1.49.6, ``graphToPrompt`` and ``ExecutableNodeDTO``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .graph import Graph, Link, Node, Path, WorkflowError
from .node_table import NodeTypes
from .ui import BYPASSED, DEEPEST, INPUT_NODE, MUTED, OUTPUT_NODE, Definition, RawLink, RawNode, Slot, read_ui

__all__ = ["flatten"]

VIRTUAL = ("Reroute", "PrimitiveNode", "Note", "MarkdownNote")
MOST_NODES = 20_000


@dataclass(frozen=True)
class _Instance:
    """A graph in its place: the root, or one use of a subgraph."""

    definition: Definition
    prefix: str = ""
    owner: RawNode | None = None
    parent: _Instance | None = None
    is_unique: bool = True
    depth: int = 0


class _Stored(NamedTuple):
    """A value in place of a link: a widget's, and where it stands."""

    value: Any
    path: Path | None


class _Flattener:
    def __init__(self, subgraphs: Mapping[str, Definition]) -> None:
        self.subgraphs = subgraphs
        self.instances: dict[str, _Instance] = {}
        """Uses of subgraphs by the id of the node that stands for them."""

    def flatten(self, root: Definition) -> Graph:
        pairs = list(self._expand(_Instance(root)))
        nodes = {instance.prefix + raw.id: self._make_node(instance, raw) for instance, raw in pairs if _is_run(raw)}
        for node in nodes.values():
            for name, value in list(node.inputs.items()):
                if isinstance(value, Link) and value.node not in nodes:
                    del node.inputs[name]
        return Graph(nodes)

    def _expand(self, instance: _Instance) -> Iterator[tuple[_Instance, RawNode]]:
        """Yield every node in its place; a subgraph that is muted or bypassed in the root graph is not opened."""
        waiting, count = [instance], 0
        while waiting:
            here = waiting.pop(0)
            for raw in here.definition.nodes.values():
                count += 1
                if count > MOST_NODES or here.depth > DEEPEST:
                    raise WorkflowError(
                        f"its subgraphs unfold to more than {MOST_NODES} nodes or lie more than {DEEPEST} deep; "
                        "one of them probably contains itself."
                    )
                if raw.type not in self.subgraphs:
                    yield here, raw
                elif here.parent is not None or raw.mode not in (MUTED, BYPASSED):
                    waiting.append(self._open_subgraph(here, raw))

    def _open_subgraph(self, here: _Instance, raw: RawNode) -> _Instance:
        definition = self.subgraphs[raw.type]
        is_unique = here.is_unique and definition.instances == 1
        inner = _Instance(definition, f"{here.prefix}{raw.id}:", raw, here, is_unique, here.depth + 1)
        self.instances[here.prefix + raw.id] = inner
        return inner

    def _make_node(self, instance: _Instance, raw: RawNode) -> Node:
        node = Node(instance.prefix + raw.id, raw.type, raw.title)
        for name, key in raw.values.items():
            node.inputs[name] = raw.widgets_values[key]
            node.paths[name] = (*raw.path, "widgets_values", key) if instance.is_unique else None
        self._copy_primitives(instance, raw, node)
        for slot in raw.slots:
            found = self._resolve(instance, raw, slot)
            if isinstance(found, _Stored):
                node.inputs[slot.name], node.paths[slot.name] = found
            elif found is not None:
                node.inputs[slot.name] = found
                node.paths.pop(slot.name, None)
        return node

    def _copy_primitives(self, instance: _Instance, raw: RawNode, node: Node) -> None:
        """A primitive node writes its value into the widgets that it is linked to."""
        for slot in raw.slots:
            link = instance.definition.links.get(slot.link) if slot.link is not None else None
            origin = instance.definition.nodes.get(link.origin) if link else None
            if origin is None or origin.type != "PrimitiveNode" or origin.mode in (MUTED, BYPASSED):
                continue
            if isinstance(origin.widgets_values, list) and origin.widgets_values:
                node.inputs[slot.name] = origin.widgets_values[0]
                node.paths[slot.name] = (*origin.path, "widgets_values", 0) if instance.is_unique else None

    def _resolve(self, instance: _Instance, raw: RawNode, slot: Slot) -> Link | _Stored | None:
        """Follow an input back to the output of a node that runs."""
        kind, seen = slot.type, set()
        here: tuple[_Instance, RawNode, Slot] | None = (instance, raw, slot)
        while here is not None:
            instance, raw, slot = here
            if (instance.prefix, raw.id, slot.name) in seen:
                raise WorkflowError(f"the links of node {instance.prefix}{raw.id} run in a circle.")
            seen.add((instance.prefix, raw.id, slot.name))
            link = instance.definition.links.get(slot.link) if slot.link is not None else None
            if link is None:
                return None
            is_outer = link.origin == INPUT_NODE and instance.parent is not None
            found = self._leave(instance, link) if is_outer else self._pass(instance, link, kind)
            if not isinstance(found, tuple) or isinstance(found, Link | _Stored):
                return found
            here = found
        return None

    def _leave(self, instance: _Instance, link: RawLink) -> tuple[_Instance, RawNode, Slot] | _Stored | None:
        """From a subgraph's own input to the input of the node that stands for the subgraph."""
        assert instance.owner is not None and instance.parent is not None
        names = list(instance.definition.inputs)
        name = names[link.slot] if 0 <= link.slot < len(names) else None
        outer = next((slot for slot in instance.owner.slots if slot.name == name), None)
        if outer is not None and outer.link is not None:
            return instance.parent, instance.owner, outer
        return _find_promoted(instance, name)

    def _pass(self, instance: _Instance, link: RawLink, kind: str) -> tuple[_Instance, RawNode, Slot] | Link | None:
        """From a link to the node behind it, and through it where it does not run itself."""
        slot = link.slot
        for _ in range(DEEPEST + 1):
            raw = instance.definition.nodes.get(link.origin)
            if raw is None or raw.mode == MUTED:
                return None
            if raw.mode == BYPASSED:
                passed = _find_bypass(raw, slot, kind)
                return None if passed is None else (instance, raw, passed)
            inner = self.instances.get(instance.prefix + raw.id)
            if inner is None and raw.type in VIRTUAL:
                return (instance, raw, raw.slots[slot]) if 0 <= slot < len(raw.slots) else None
            if inner is None:
                return Link(instance.prefix + raw.id, slot)
            ends = inner.definition.outputs
            number = ends[slot] if 0 <= slot < len(ends) else None
            found = inner.definition.links.get(number) if number is not None else None
            if found is None:
                return None
            instance, link, slot = inner, found, found.slot
            if link.origin in (INPUT_NODE, OUTPUT_NODE):
                return None
        return None


def flatten(document: Mapping[str, Any], types: NodeTypes) -> Graph:
    """Return the graph of the nodes that run.

    Raises:
        WorkflowError: The document is damaged, a subgraph contains itself, or links run in a circle.
    """
    root, subgraphs = read_ui(document, types)
    return _Flattener(subgraphs).flatten(root)


def _is_run(raw: RawNode) -> bool:
    return raw.mode not in (MUTED, BYPASSED) and raw.type not in VIRTUAL


def _find_promoted(instance: _Instance, name: str | None) -> _Stored | None:
    """The value that the node of a subgraph holds for a widget inside of it."""
    assert instance.owner is not None and instance.parent is not None
    if name is None or name not in instance.owner.values:
        return None
    key = instance.owner.values[name]
    path = (*instance.owner.path, "widgets_values", key) if instance.parent.is_unique else None
    return _Stored(instance.owner.widgets_values[key], path)


def _find_bypass(raw: RawNode, slot: int, kind: str) -> Slot | None:
    """The input that a bypassed node passes on in place of an output."""
    if kind in ("*", ""):
        return raw.slots[slot if slot < len(raw.slots) else 0] if raw.slots else None
    out = raw.outputs[slot] if 0 <= slot < len(raw.outputs) else ""
    fitting = [one for one in raw.slots if _fits_type(one.type, out) and _fits_type(one.type, kind)]
    opposite = raw.slots[slot] if 0 <= slot < len(raw.slots) else None
    exact = next((one for one in raw.slots if one.type == kind), None)
    return opposite if opposite in fitting else exact or next(iter(fitting), None)


def _fits_type(one: str, other: str) -> bool:
    """Whether two types of slots fit; commas separate alternatives, and "*" fits everything."""
    left, right = one.lower().split(","), other.lower().split(",")
    return "*" in left or "*" in right or "" in left or "" in right or bool(set(left) & set(right))
