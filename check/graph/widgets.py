"""Names of the widget values that a saved node holds by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .node_table import Input, NodeType

__all__ = ["name_widgets"]

CONTROLS = ("fixed", "increment", "decrement", "randomize")


def name_widgets(values: Any, known: NodeType | None, slots: Sequence[Mapping[str, Any]]) -> dict[str, str | int]:
    """Return where each named widget value of a node stands: input name -> index (or key) into ``values``.

    Args:
        values: ``widgets_values`` of a saved node.
        known: Its type, where the table has it.
        slots: Its ``inputs``.

    Returns:
        Empty where neither the table nor the file tells the names.
    """
    if isinstance(values, Mapping):
        return {name: name for name in values if isinstance(name, str)}
    if not isinstance(values, Sequence) or isinstance(values, str):
        return {}
    if known is not None:
        return dict(_index_by_table(known.inputs, values, 0))
    return _index_by_slots(values, slots)


def _index_by_table(
    inputs: Sequence[Input], values: Sequence[Any], start: int, prefix: str = ""
) -> Iterator[tuple[str, int]]:
    """Yield (name, index): each input in order, the inputs that a dynamic combo's choice brings right behind it."""
    at = start
    for entry in inputs:
        if not entry.widgets or at >= len(values):
            continue
        yield prefix + entry.name, at
        choice = values[at]
        at += entry.widgets
        inner = (entry.options or {}).get(choice, ()) if isinstance(choice, str) else ()
        for found in _index_by_table(inner, values, at, f"{prefix}{entry.name}."):
            yield found
            at = found[1] + 1


def _index_by_slots(values: Sequence[Any], slots: Sequence[Mapping[str, Any]]) -> dict[str, str | int]:
    """The names in the file, where their number fits; a seed's "control after generate" has no name."""
    names = [name for slot in slots if (name := _get_widget_name(slot)) is not None]
    indices = [i for i, value in enumerate(values) if not (value in CONTROLS if isinstance(value, str) else False)]
    for chosen in (range(len(values)), indices):
        if len(names) == len(chosen):
            return dict(zip(names, chosen, strict=True))
    return {}


def _get_widget_name(slot: Mapping[str, Any]) -> str | None:
    widget = slot.get("widget")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    return name if isinstance(name, str) else None
