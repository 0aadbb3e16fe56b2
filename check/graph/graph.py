"""The resolved graph: nodes that run, their values, and the links between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ...printable import SentenceError

__all__ = ["Graph", "Link", "NoWorkflowError", "Node", "Path", "WorkflowError"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value in the document that was read."""


class WorkflowError(SentenceError):
    """A file that is not a workflow or cannot be read, said in one sentence."""


class NoWorkflowError(WorkflowError):
    """A file that could carry a workflow, but does not."""


class Link(NamedTuple):
    """An output of a node: its id and the number of the output."""

    node: str
    slot: int


@dataclass
class Node:
    """One node that runs.

    Attributes:
        id: As in the API format; nodes inside subgraphs have the ids of all subgraphs before their own ("12:5").
        inputs: Input name -> :class:`Link`, or the widget's value.
        paths: Input name -> where its value stands in the document; None where several nodes share that place.
    """

    id: str
    type: str
    title: str
    inputs: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, Path | None] = field(default_factory=dict)

    def link(self, name: str) -> Link | None:
        """Return the link of an input, or None where it has a value or nothing."""
        value = self.inputs.get(name)
        return value if isinstance(value, Link) else None


@dataclass(frozen=True)
class Graph:
    """All nodes that run, by id."""

    nodes: Mapping[str, Node]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def origin(self, node: Node, name: str) -> tuple[Node, int] | None:
        """Return the node and the output that an input is linked to."""
        link = node.link(name)
        return (self.nodes[link.node], link.slot) if link and link.node in self.nodes else None

    def of_type(self, *types: str) -> list[Node]:
        """Return the nodes of these types in the order of the file."""
        return [node for node in self if node.type in types]
