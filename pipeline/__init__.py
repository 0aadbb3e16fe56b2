"""Whole jobs built from the networks and the samplers: generate images, probe a checkpoint, inspect a file.

The names below are loaded when they are first used: importing one job does not import what the others need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers alone, which cannot read the table
    from .contracts import *  # noqa: F403
    from .generation import *  # noqa: F403
    from .image_to_image import *  # noqa: F403
    from .inspection import *  # noqa: F403
    from .probing import *  # noqa: F403
    from .stamping import *  # noqa: F403
    from .text_encoder import *  # noqa: F403

_EXPORTS = {
    "contracts": ("Overrides", "find_preset", "find_sampler", "resolve_contract"),
    "generation": ("Prompts", "Variation", "check_vae", "decode_images", "generate", "sample_latents", "save_png"),
    "image_to_image": ("Start", "encode_start"),
    "inspection": ("Description", "inspect"),
    "probing": ("Evidence", "ProbeReport", "probe"),
    "stamping": ("stamp_known", "stamp_student"),
    "text_encoder": ("encode_prompts",),
}
"""Each module with the names that it gives to the public surface."""

_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = sorted(_HOME)  # the table above is the one list of names


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
