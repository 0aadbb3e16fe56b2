"""Schemas of nodes, without the fields that older hosts lack.

Oldest ComfyUI that is supported: 0.11.1. Fields of the V3 schema that came later, or not with the first V3 hosts
(``search_aliases``, ``essentials_category``, ``advanced``), are passed only to a host that has them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from comfy_api.latest import io

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


def make_schema(**fields: Any) -> io.Schema:
    """Make a node's schema, without the fields that this host does not know yet."""
    return io.Schema(**{key: value for key, value in fields.items() if key not in _LATER_FIELDS})


# Inputs. Every option that a function does not name goes to the host's own input; ``advanced=True`` puts an input under
# "advanced" where the host has such a thing.


def int_input(name: str, default: int, limits: tuple[int, int], tooltip: str, **options: Any) -> io.Int.Input:
    """Return an input for a whole number within ``limits``, both included."""
    least, most = limits
    return io.Int.Input(name, default=default, min=least, max=most, tooltip=tooltip, **_drop_later(options))


def float_input(name: str, default: float, limits: tuple[float, float], tooltip: str, **options: Any) -> io.Float.Input:
    """Return an input for a number within ``limits``, both included."""
    least, most = limits
    return io.Float.Input(name, default=default, min=least, max=most, tooltip=tooltip, **_drop_later(options))


def seed_input(name: str, tooltip: str) -> io.Int.Input:
    """Return an input for a seed, which the page can change after each run."""
    return int_input(name, 0, (0, SEEDS - 1), tooltip, control_after_generate=True)


def choice_input(name: str, choices: Iterable[str], tooltip: str, **options: Any) -> io.Combo.Input:
    """Return an input for one of ``choices``; without a ``default`` it starts with the first."""
    return io.Combo.Input(name, options=list(choices), tooltip=tooltip, **_drop_later(options))


def text_input(name: str, default: str, tooltip: str, **options: Any) -> io.String.Input:
    """Return an input for text."""
    return io.String.Input(name, default=default, tooltip=tooltip, **_drop_later(options))


def switch_input(name: str, default: bool, tooltip: str, **options: Any) -> io.Boolean.Input:
    """Return an input that is on or off."""
    return io.Boolean.Input(name, default=default, tooltip=tooltip, **_drop_later(options))


def _drop_later(options: dict[str, Any]) -> dict[str, Any]:
    """Return an input's options without those that this host does not know yet."""
    return {key: value for key, value in options.items() if key != "advanced" or _KNOWS_ADVANCED}
