"""Any workflow document to its resolved graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .flatten import MOST_NODES, flatten
from .graph import Graph, Link, Node, NoWorkflowError, WorkflowError
from .node_table import NodeTypes

__all__ = ["read_graph"]


def read_graph(document: Mapping[str, Any], types: NodeTypes | None = None) -> Graph:
    """Return the nodes that run, from the page's own format or from the API format.

    Args:
        document: The workflow.
        types: What a server says of its nodes, which goes before the shipped table; None is nothing.

    Raises:
        WorkflowError: The document is neither, or is damaged.
    """
    if isinstance(document.get("nodes"), list):
        return flatten(document, types or {})
    if isinstance(document.get("prompt"), Mapping):  # what is posted to a server
        return _read_api(document["prompt"], ("prompt",))
    return _read_api(document, ())


def _read_api(document: Mapping[str, Any], path: tuple[str, ...]) -> Graph:
    entries = {key: entry for key, entry in document.items() if isinstance(entry, Mapping) and "class_type" in entry}
    if not entries:
        found = ", ".join(map(repr, list(document)[:4])) or "nothing"
        raise NoWorkflowError(f"it is JSON, but not a workflow (it has {found}, and neither nodes nor class types).")
    if len(entries) > MOST_NODES:
        raise WorkflowError(f"it has {len(entries)} nodes; at most {MOST_NODES} are read.")
    return Graph({key: _read_api_node(key, entry, entries, path) for key, entry in entries.items()})


def _read_api_node(key: str, entry: Mapping[str, Any], entries: Mapping[str, Any], path: tuple[str, ...]) -> Node:
    inputs, meta = entry.get("inputs"), entry.get("_meta")
    kind = str(entry["class_type"])
    title = meta.get("title") if isinstance(meta, Mapping) else None
    node = Node(key, kind, str(title or kind))
    for name, value in (inputs if isinstance(inputs, Mapping) else {}).items():
        if _is_link(value):
            if str(value[0]) in entries:
                node.inputs[name] = Link(str(value[0]), value[1])
            continue
        node.inputs[name] = value["__value__"] if isinstance(value, Mapping) and "__value__" in value else value
        node.paths[name] = (*path, key, "inputs", name)
    return node


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int) and type(value[1]) is int
