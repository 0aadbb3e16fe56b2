"""Schemas of nodes, without the fields that older hosts lack.

Oldest ComfyUI that is supported: 0.11.1. Fields of the V3 schema that came later, or not with the first V3 hosts
(``search_aliases``, ``essentials_category``, ``advanced``), are passed only to a host that has them.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from comfy_api.latest import io

CATEGORY = "Wan Lite"
PRECISIONS: dict[str, torch.dtype | None] = {
    "auto": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

_LATER_FIELDS = {"search_aliases", "essentials_category"} - set(inspect.signature(io.Schema).parameters)
ADVANCED = {"advanced": True} if "advanced" in inspect.signature(io.Int.Input.__init__).parameters else {}
"""Options of an input that belongs under "advanced"; empty where the host has no such thing."""


def schema(**fields: Any) -> io.Schema:
    """Make a node's schema, without the fields that this host does not know yet."""
    return io.Schema(**{key: value for key, value in fields.items() if key not in _LATER_FIELDS})
