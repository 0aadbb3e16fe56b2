"""Which value of a row goes to which input of which node."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from ...check.graph.files import read_document
from ...check.graph.graph import Link
from ...check.graph.node_table import NodeTypes
from ...check.graph.read import read_graph
from ...printable import SentenceError
from ..rows import NAME, Row

__all__ = ["Binding", "BindingError", "Prompt", "bind", "fill", "load_prompt"]

Prompt = dict[str, dict[str, Any]]
"""A workflow in the form that a server takes: node id -> class_type, inputs, _meta."""

WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class BindingError(SentenceError):
    """A value that has no place in the workflow, or does not fit its place."""


@dataclass(frozen=True)
class Binding:
    """One input and where its value comes from: ``template`` with ``{column}`` in it."""

    node: str
    input: str
    template: str


def load_prompt(path: Path, types: NodeTypes | None = None) -> Prompt:
    """Return a workflow file (either format, or an image that carries one) in the form that a server takes.

    Args:
        path: The file.
        types: What a server says of its nodes.

    Raises:
        WorkflowError: It is not a workflow.
        OSError: It cannot be opened.
    """
    graph = read_graph(read_document(path).content, types)
    return {
        node.id: {
            "class_type": node.type,
            "inputs": {name: _encode(value) for name, value in node.inputs.items()},
            "_meta": {"title": node.title},
        }
        for node in graph
    }


def _encode(value: Any) -> Any:
    if isinstance(value, Link):
        return [value.node, value.slot]
    return {"__value__": value} if isinstance(value, list) else value


def bind(
    prompt: Prompt,
    settings: Sequence[str],
    columns: Sequence[str],
    types: NodeTypes | None = None,
) -> list[Binding]:
    """Return which input gets what: from ``NODE.INPUT=VALUE`` texts, then from columns named ``NODE.INPUT``.

    Args:
        prompt: The workflow.
        settings: What ``--set`` was given; ``{name}`` in a value stands for a column.
        columns: Of the rows.
        types: What a server says of its nodes: inputs that the workflow leaves out can be set, too.

    Raises:
        BindingError: There is no such node, input or column, a title is ambiguous, or a column is not used.
    """
    used: set[str] = {NAME}
    bindings = []
    for setting in settings:
        target, equals, template = setting.partition("=")
        if not equals:
            raise BindingError(f"--set is {setting!r}; give NODE.INPUT=VALUE, such as 3.seed={{seed}}.")
        node, name = _find_input(prompt, target.strip(), types or {})
        used |= _check_template(setting, template, columns)
        bindings.append(Binding(node, name, template))
    for column in columns:
        if column not in used and "." in column:
            node, name = _find_input(prompt, column, types or {})
            bindings.append(Binding(node, name, "{" + column + "}"))
            used.add(column)
    unused = [column for column in columns if column not in used]
    if unused:
        raise BindingError(
            f"column {unused[0]!r} goes nowhere; call it NODE.INPUT, or add --set NODE.INPUT={{{unused[0]}}}."
        )
    places = [(binding.node, binding.input) for binding in bindings]
    for node, name in places:
        if places.count((node, name)) > 1:
            raise BindingError(f"input {name} of node {node} is set twice; set it once.")
    return bindings


def fill(prompt: Prompt, bindings: Sequence[Binding], row: Row) -> Prompt:
    """Return the workflow with a row's values in it; a column that the row leaves empty leaves its input alone.

    Raises:
        BindingError: A value does not fit the input.
    """
    filled = dict(prompt)
    for binding in bindings:
        value = _format(binding.template, row)
        if value is not None:
            inputs = filled[binding.node]["inputs"]
            new = _convert(value, prompt[binding.node]["inputs"].get(binding.input), binding, row)
            filled[binding.node] = {**filled[binding.node], "inputs": {**inputs, binding.input: new}}
    return filled


def _find_input(prompt: Prompt, target: str, types: NodeTypes) -> tuple[str, str]:
    """Find NODE.INPUT; ids may not hold dots, but titles and names of inputs may."""
    parts = target.split(".")
    splits = [(".".join(parts[:i]), ".".join(parts[i:])) for i in range(1, len(parts))]
    found = [(node, name) for text, name in splits for node in _find_nodes(prompt, text)]
    if not found:
        known = ", ".join(f"{key} ({node['_meta']['title']})" for key, node in list(prompt.items())[:12])
        raise BindingError(
            f"{target!r}: the workflow has no such node; it has {known}. Give NODE.INPUT by id or title."
        )
    right = [(node, name) for node, name in found if name in _list_inputs(prompt[node], types)]
    if not right:
        node = found[0][0]
        known = ", ".join(_list_inputs(prompt[node], types))
        raise BindingError(f"{target!r}: node {node} has no input {found[0][1]!r}; it has {known}.")
    if len(right) > 1:
        raise BindingError(
            f"{target!r} means nodes {' and '.join(node for node, _ in right[:4])}; give the id instead."
        )
    value = prompt[right[0][0]]["inputs"].get(right[0][1])
    if isinstance(value, list):
        raise BindingError(f"{target!r} is connected to node {value[0]}; set that node's input, or disconnect it.")
    return right[0]


def _find_nodes(prompt: Prompt, text: str) -> list[str]:
    """Return the node with this id, else those with this title, else those of this class."""
    if text in prompt:
        return [text]
    titled = [key for key, node in prompt.items() if node["_meta"]["title"] == text]
    return titled or [key for key, node in prompt.items() if node["class_type"] == text]


def _list_inputs(node: Mapping[str, Any], types: NodeTypes) -> list[str]:
    known = types.get(node["class_type"])
    return list(
        dict.fromkeys(
            [*node["inputs"], *(entry.name for entry in known.inputs if entry.widgets)] if known else node["inputs"]
        )
    )


def _check_template(setting: str, template: str, columns: Sequence[str]) -> set[str]:
    try:
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise BindingError(f"--set is {setting!r}, which cannot be read ({error}); write {{{{ for a brace.") from None
    missing = [name for name in names if name not in columns]
    if missing:
        raise BindingError(
            f"--set is {setting!r}, but there is no column {missing[0]!r}; there are {', '.join(columns)}."
        )
    return names


def _format(template: str, row: Row) -> Any:
    """Return what a template says of a row; a lone ``{column}`` keeps the value's type, None is an empty cell."""
    parts = list(Formatter().parse(template))
    if len(parts) == 1 and not parts[0][0] and parts[0][1] is not None:
        return row.values.get(parts[0][1])
    return "".join(text + ("" if name is None else str(row.values.get(name, ""))) for text, name, _, _ in parts)


def _convert(value: Any, old: Any, binding: Binding, row: Row) -> Any:
    """Return a value as the type that its input has now."""
    try:
        if isinstance(old, bool):
            return value if isinstance(value, bool) else WORDS[str(value).strip().lower()]
        if isinstance(old, int | float) and not isinstance(value, bool):
            return _parse_number(value, old)
        if isinstance(old, str):
            return value if isinstance(value, str) else json.dumps(value)
        if old is None:
            return _guess(value)
    except (ValueError, KeyError, OverflowError):
        pass
    kind = {bool: "true or false", int: "a whole number", float: "a number"}.get(type(old), "a plain value")
    raise BindingError(
        f"line {row.line}: {value!r} goes to input {binding.input} of node {binding.node}, which takes {kind}."
    )


def _parse_number(value: Any, old: float) -> float:
    number = float(value)
    if number != number or abs(number) == float("inf"):
        raise ValueError("not finite")
    if isinstance(old, float):
        return number
    whole = value if isinstance(value, int) else int(str(value).strip()) if isinstance(value, str) else int(number)
    if whole != number and not isinstance(value, str):
        raise ValueError("not whole")
    return whole


def _guess(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
