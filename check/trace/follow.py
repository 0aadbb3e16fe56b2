"""Following links back to where something is made, and values to where they are typed in."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ..graph.graph import Graph, Node, Path
from ..graph.node_table import Input, find_type

__all__ = ["CannotTell", "Follower", "Origin", "Value"]


@dataclass(frozen=True)
class CannotTell:
    """The end of a path that the file alone does not continue; ``reason`` is a clause without a full stop."""

    reason: str


@dataclass(frozen=True)
class Value:
    """A value, and the widget that it was typed into: None where it is computed from others."""

    value: Any
    node: str | None = None
    input: str | None = None
    path: Path | None = None


Origin: TypeAlias = tuple[Node, int]
"""A node and the number of its output."""

PRIMITIVES = {
    **dict.fromkeys(("PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean"), "value"),
    **dict.fromkeys(("PrimitiveString", "PrimitiveStringMultiline", "INTConstant", "FloatConstant"), "value"),
    "SeedNode": "seed",
}
"""Nodes that only hold a value, and the widget that holds it."""

MOST_SWITCHES = 1000


class Follower:
    """Follows links of one graph through switches, and values through primitives and arithmetic."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._open: set[tuple[str, str]] = set()

    def origin(self, node: Node, name: str) -> Origin | CannotTell | None:
        """Return what an input is linked to, through switches whose choice is known; None where it is not linked."""
        for _ in range(MOST_SWITCHES):
            found = self.graph.origin(node, name)
            if found is None:
                return None
            target = found[0]
            if target.type != "ComfySwitchNode":
                return found
            choice = self.value(target, "switch")
            if isinstance(choice, CannotTell):
                return CannotTell(f"the switch {target.id} depends on a value that {choice.reason}")
            node, name = target, "on_true" if choice.value else "on_false"
        return CannotTell(f"the switches before node {node.id} run in a circle")

    def value(self, node: Node, name: str) -> Value | CannotTell:
        """Return an input's value."""
        if node.link(name) is None:
            if name not in node.inputs:
                return CannotTell(f"the file does not hold ({name} of node {node.id})")
            return Value(node.inputs[name], node.id, name, node.paths.get(name))
        if (node.id, name) in self._open:
            return CannotTell("depends on itself")
        self._open.add((node.id, name))
        try:
            found = self.origin(node, name)
            return found if isinstance(found, CannotTell) else self._compute(found)
        finally:
            self._open.discard((node.id, name))

    def number(self, node: Node, name: str) -> float | CannotTell:
        """Return an input's value as a number."""
        found = self.value(node, name)
        if isinstance(found, CannotTell):
            return found
        try:
            number = float(found.value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        return number if math.isfinite(number) else CannotTell(f"is not a number ({name} of node {node.id})")

    def widget(self, node: Node, entry: Input) -> Value | CannotTell:
        """Return a widget's value in the type that the node declares for it."""
        found = self.value(node, entry.name)
        if isinstance(found, CannotTell) or entry.type not in ("INT", "FLOAT"):
            return found
        number = self.number(node, entry.name)
        if isinstance(number, CannotTell) or isinstance(found.value, int | float):
            return number if isinstance(number, CannotTell) else found
        return replace(found, value=int(number) if entry.type == "INT" else number)

    def widgets(self, node: Node) -> dict[str, Value | CannotTell]:
        """Return the values of all widgets of a node of the table."""
        known = find_type(node.type)
        return {entry.name: self.widget(node, entry) for entry in (known.inputs if known else ()) if entry.widgets}

    def _compute(self, origin: Origin | None) -> Value | CannotTell:
        if origin is None:
            return CannotTell("the file does not hold")
        node, slot = origin
        if node.type in PRIMITIVES:
            return self.value(node, PRIMITIVES[node.type])
        if node.type == "ComfyNumberConvert":
            number = self.number(node, "value")
            return number if isinstance(number, CannotTell) else Value(int(number) if slot else number)
        if node.type == "ComfyMathExpression":
            return self._compute_expression(node, slot)
        return CannotTell(f"node {node.id} ({node.type}) computes")

    def _compute_expression(self, node: Node, slot: int) -> Value | CannotTell:
        names: dict[str, float] = {}
        for name in node.inputs:
            if name.startswith("values."):
                number = self.number(node, name)
                if isinstance(number, CannotTell):
                    return number
                names[name.removeprefix("values.")] = number
        text = self.value(node, "expression")
        result = None if isinstance(text, CannotTell) else evaluate(str(text.value), names)
        if result is None:
            return CannotTell(f"node {node.id} ({node.type}) computes")
        return Value((float, int, bool)[min(slot, 2)](result))


OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.USub: operator.neg, ast.UAdd: operator.pos,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min, "max": max, "round": round, "int": int, "float": float, "abs": abs, "floor": math.floor,
    "ceil": math.ceil, "sqrt": math.sqrt,
}  # fmt: skip


def evaluate(text: str, names: Mapping[str, float]) -> float | None:
    """Return the value of an arithmetic expression, or None where it is more than arithmetic."""
    try:
        result = _evaluate(ast.parse(text.strip(), mode="eval").body, names)
        return result if math.isfinite(result) else None
    except (SyntaxError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError, MemoryError):
        return None


def _evaluate(tree: ast.AST, names: Mapping[str, float]) -> Any:
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float):
        return tree.value
    if isinstance(tree, ast.Name):
        return names[tree.id]
    if isinstance(tree, ast.UnaryOp):
        return OPERATORS[type(tree.op)](_evaluate(tree.operand, names))
    if isinstance(tree, ast.BinOp):
        return OPERATORS[type(tree.op)](_evaluate(tree.left, names), _evaluate(tree.right, names))
    if isinstance(tree, ast.Compare) and len(tree.ops) == 1:
        return OPERATORS[type(tree.ops[0])](_evaluate(tree.left, names), _evaluate(tree.comparators[0], names))
    if isinstance(tree, ast.IfExp):
        return _evaluate(tree.body if _evaluate(tree.test, names) else tree.orelse, names)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.keywords:
        return FUNCTIONS[tree.func.id](*(_evaluate(argument, names) for argument in tree.args))
    raise ValueError("not arithmetic")
