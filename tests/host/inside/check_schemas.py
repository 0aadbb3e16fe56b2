"""Schemas against what a node does with them: an input that may be left out has the same default in both."""

from __future__ import annotations

import inspect
from typing import Any

import nodes

from harness import node

NO_DEFAULT = inspect.Parameter.empty


def our_nodes() -> list[Any]:
    node("WanLiteNoise")
    return [kind for name, kind in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("WanLite")]


def declared_inputs(kind: Any) -> list[tuple[str, Any, bool]]:
    """(name, default, whether it may be left out) of each input."""
    types = kind.INPUT_TYPES()
    parts = [
        (name, entry, part == "optional")
        for part in ("required", "optional")
        for name, entry in types.get(part, {}).items()
    ]
    return [
        (name, (entry[1] if len(entry) > 1 else {}).get("default", NO_DEFAULT), free) for name, entry, free in parts
    ]


def check_what_has_a_default_may_be_left_out() -> None:
    for kind in our_nodes():
        wrong = [name for name, default, free in declared_inputs(kind) if (default is not NO_DEFAULT) and not free]
        assert not wrong, f"{kind.__name__}: {wrong} have a default and are required"


def check_execute_has_the_defaults_of_the_schema() -> None:
    for kind in our_nodes():
        arguments = inspect.signature(kind.execute).parameters
        for name, default, free in declared_inputs(kind):
            if free:
                expected = None if default is NO_DEFAULT else default
                assert arguments[name].default == expected, (
                    f"{kind.__name__}.{name}: {arguments[name].default} != {default}"
                )
                assert type(arguments[name].default) is type(expected), (kind.__name__, name)
            else:
                assert arguments[name].default is NO_DEFAULT, f"{kind.__name__}.{name} is required"


def check_what_decides_about_the_cache_takes_what_is_left_out() -> None:
    """The host calls it with the inputs that a graph has."""
    for kind in our_nodes():
        free = {name for name, _, may_be_left_out in declared_inputs(kind) if may_be_left_out}
        for method in ("fingerprint_inputs", "validate_inputs"):
            own = next(
                (c.__dict__[method] for c in kind.__mro__ if c.__module__.endswith("WanLite") or method in c.__dict__),
                None,
            )
            if own is None or "comfy_api" in getattr(own, "__func__", own).__module__:
                continue
            arguments = inspect.signature(getattr(kind, method)).parameters
            missing = [name for name in arguments if name in free and arguments[name].default is NO_DEFAULT]
            assert not missing, f"{kind.__name__}.{method}: {missing} have no default"
