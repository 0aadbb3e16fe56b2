"""Whole jobs built from the networks and the samplers: generate images, probe a checkpoint, inspect a file.

The names below are loaded when they are first used: importing one job does not import what the others need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_exports import attach

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
    "stamping": ("stamp_known", "stamp_preview", "stamp_student"),
    "text_encoder": ("encode_prompts",),
}
"""Each module with the names that it gives to the public surface."""

__getattr__, __dir__, __all__ = attach(__name__, _EXPORTS)  # the table above is the one list of names
