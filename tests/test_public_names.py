"""The public names of the library: every one is documented in the one dialect, and used somewhere beside the tests."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

from wan_lite.samplers import Solver
from wan_lite.scripts.docs import PACKAGES, constant_docstrings

ROOT = Path(__file__).parents[1]
USERS = {
    "samplers": ("models", "pipeline", "check", "cli", "nodes", "demo", "benchmarks", "scripts"),
    "models": ("pipeline", "check", "cli", "nodes", "demo", "benchmarks", "scripts"),
    "pipeline": ("check", "cli", "nodes", "demo", "benchmarks", "scripts"),
}
"""Whose use of a package's names counts, beside README and docs: what stands above it."""

SHAPE = re.compile(r"^\s*Shapes:|\([\w. +*']+,[\w. +*',]*\)", re.M)
"""A section of shapes, or one said in place, such as (b, ...)."""

NAMES = [(package, name) for package in PACKAGES for name in import_module(package).__all__]


def docstring_of(package: str, name: str) -> str:
    """The docstring of a class or function, or the text behind the assignment of anything else."""
    value = getattr(import_module(package), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return inspect.getdoc(value) or ""
    return constant_docstrings(package).get(name, "")


def section(text: str, title: str) -> str:
    """What a section of a docstring holds, or nothing."""
    found = re.search(rf"^{title}:\n((?:[ \t]+.*\n?|\n)+)", text, re.M)
    return found[1] if found else ""


def functions() -> Iterator[tuple[str, str, Callable[..., object]]]:
    """The public functions."""
    for package, name in NAMES:
        value = getattr(import_module(package), name)
        if inspect.isfunction(value):
            yield package, name, value


def methods() -> Iterator[tuple[type, str, Callable[..., object]]]:
    """The public methods that the public classes define, each once."""
    classes = {value for package, name in NAMES if inspect.isclass(value := getattr(import_module(package), name))}
    for one in sorted(classes, key=lambda one: one.__qualname__):
        for name, value in vars(one).items():
            function = getattr(value, "__func__", value)  # of a class method
            if not name.startswith("_") and inspect.isfunction(function) and function.__module__.startswith("wan_lite"):
                yield one, name, function


def told_of(one: type, name: str, function: Callable[..., object]) -> str:
    """What a method says, its class of all of them, and for solvers the protocol that they implement."""
    protocol = getattr(Solver, name, None) if hasattr(one, "convergence_order") else None
    return "\n".join(inspect.getdoc(where) or "" for where in (function, one, protocol) if where is not None)


METHODS = [pytest.param(*found, id=f"{found[0].__name__}.{found[1]}") for found in methods()]


@pytest.mark.parametrize(("one", "name", "method"), METHODS)
def test_a_public_method_names_its_arguments_errors_and_shapes(
    one: type, name: str, method: Callable[..., object]
) -> None:
    own, text = inspect.getdoc(method) or "", told_of(one, name, method)
    kinds = inspect.signature(method)
    missing = [word for word in kinds.parameters if word not in ("self", "cls") and not re.search(rf"\b{word}\b", text)]
    assert own and not missing, f"{one.__name__}.{name} does not say what {missing} are"
    raised = [node for node in ast.walk(ast.parse(dedent(inspect.getsource(method)))) if isinstance(node, ast.Raise)]
    assert not raised or section(own, "Raises"), f"{one.__name__}.{name} raises, and does not say what"
    assert not re.search(r"\bTensor\b", str(kinds)) or SHAPE.search(text), f"{one.__name__}.{name} says no shape"


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_every_public_name_has_a_docstring(package: str, name: str) -> None:
    assert docstring_of(package, name), f"{package}.{name} says nothing about itself"


@pytest.mark.parametrize(("package", "name", "function"), list(functions()))
def test_a_public_function_documents_its_arguments(package: str, name: str, function: Callable[..., object]) -> None:
    listed = section(docstring_of(package, name), "Args")
    missing = [
        word
        for word in inspect.signature(function).parameters
        if not re.search(rf"^\s*\*{{0,2}}{word}\b.*:", listed, re.M)
    ]
    assert not missing, f"{package}.{name} does not say what {missing} are"


@pytest.mark.parametrize(("package", "name", "function"), list(functions()))
def test_a_public_function_documents_its_errors(package: str, name: str, function: Callable[..., object]) -> None:
    raised = [node for node in ast.walk(ast.parse(dedent(inspect.getsource(function)))) if isinstance(node, ast.Raise)]
    assert not raised or section(docstring_of(package, name), "Raises"), (
        f"{package}.{name} raises, and does not say what"
    )


@pytest.mark.parametrize(("package", "name", "function"), list(functions()))
def test_a_public_function_documents_its_shapes(package: str, name: str, function: Callable[..., object]) -> None:
    kinds = [str(parameter.annotation) for parameter in inspect.signature(function).parameters.values()]
    tensors = any(
        re.search(r"\bTensor\b", kind) for kind in [*kinds, str(inspect.signature(function).return_annotation)]
    )
    assert not tensors or SHAPE.search(docstring_of(package, name)), f"{package}.{name} has tensors, and says no shape"


@cache
def uses(room: str) -> frozenset[str]:
    """Names that the modules of a folder import or reach through a module."""
    found: set[str] = set()
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
    return frozenset(found)


@cache
def told() -> frozenset[str]:
    """Names in the code of README and docs."""
    texts = [path.read_text("utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))]
    code = (block for text in texts for block in re.findall(r"```.*?```|`[^`\n]+`", text, re.S))
    return frozenset(word for block in code for word in re.findall(r"\w+", block))


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_every_public_name_is_used_outside_the_tests(package: str, name: str) -> None:
    room = package.removeprefix("wan_lite.")
    assert any(name in uses(user) for user in USERS[room]) or name in told(), f"nothing uses {package}.{name}"
