"""Schemas of nodes, without the fields that older hosts lack.

Oldest ComfyUI that is supported: 0.11.1. Fields of the V3 schema that came later, or not with the first V3 hosts
(``search_aliases``, ``essentials_category``, ``advanced``), are passed only to a host that has them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from comfy_api.latest import io

from .progress import show_refusals

CATEGORY = "Wan Lite"
SEEDS = 2**64
PRECISIONS: dict[str, torch.dtype | None] = {
    "auto": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

_LATER_FIELDS = {"search_aliases", "essentials_category"} - set(inspect.signature(io.Schema).parameters)
_KNOWS_ADVANCED = "advanced" in inspect.signature(io.Int.Input.__init__).parameters


class Node(io.ComfyNode):
    """A node of this pack: what it refuses is shown under it, as a sentence."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        execute = cls.__dict__.get("execute")
        # The host makes a clone of the class for each run: what it clones shows its refusals already.
        if execute is not None and not hasattr(execute.__func__, "__wrapped__"):
            cls.execute = classmethod(show_refusals()(execute.__func__))


def make_schema(*, inputs: Sequence[io.Input], **fields: Any) -> io.Schema:
    """Make a node's schema, without the fields that this host does not know yet.

    The host lists what may be left out behind the rest. Of that, links come last: they have their place by name, and
    widgets, which workflows store by position, follow one another wherever a link is declared.
    """
    known = {key: value for key, value in fields.items() if key not in _LATER_FIELDS}
    return io.Schema(inputs=sorted(inputs, key=_is_optional_link), **known)


def _is_optional_link(declared: io.Input) -> bool:
    return bool(declared.optional) and not hasattr(declared, "default")  # widgets alone have one


# Inputs. What has a default may be left out (``optional``), so that a graph in API form that was made before an input
# was appended still runs; ``execute`` has the same default, because the host passes none. Every option that a function
# does not name goes to the host's own input; ``advanced=True`` puts an input under "advanced" where the host has that.


def int_input(name: str, default: int, limits: tuple[int, int], tooltip: str, **options: Any) -> io.Int.Input:
    """Return an input for a whole number within ``limits``, both included."""
    least, most = limits
    return io.Int.Input(name, default=default, min=least, max=most, tooltip=tooltip, **_complete(options))


def float_input(name: str, default: float, limits: tuple[float, float], tooltip: str, **options: Any) -> io.Float.Input:
    """Return an input for a number within ``limits``, both included."""
    least, most = limits
    return io.Float.Input(name, default=default, min=least, max=most, tooltip=tooltip, **_complete(options))


def seed_input(name: str, tooltip: str) -> io.Int.Input:
    """Return an input for a seed, which the page can change after each run."""
    return int_input(name, 0, (0, SEEDS - 1), tooltip, control_after_generate=True)


def choice_input(name: str, choices: Iterable[str], tooltip: str, **options: Any) -> io.Combo.Input:
    """Return an input for one of ``choices``; without a ``default`` it starts with the first and cannot be left out."""
    options = {"optional": "default" in options, **options}
    return io.Combo.Input(name, options=list(choices), tooltip=tooltip, **_complete(options))


def text_input(name: str, default: str, tooltip: str, **options: Any) -> io.String.Input:
    """Return an input for text."""
    return io.String.Input(name, default=default, tooltip=tooltip, **_complete(options))


def switch_input(name: str, default: bool, tooltip: str, **options: Any) -> io.Boolean.Input:
    """Return an input that is on or off."""
    return io.Boolean.Input(name, default=default, tooltip=tooltip, **_complete(options))


def _complete(options: dict[str, Any]) -> dict[str, Any]:
    """Return an input's options without those that this host does not know yet, and make it optional."""
    known = {key: value for key, value in options.items() if key != "advanced" or _KNOWS_ADVANCED}
    return {"optional": True, **known}
