"""The networks: Wan VAEs, distilled students, small world models. Needs torch, einops and safetensors; never ComfyUI.

The names below are loaded when they are first used, so that importing one kind of model does not import the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_exports import attach

if TYPE_CHECKING:  # for type checkers alone, which cannot read the table
    from .checkpoint import *  # noqa: F403
    from .contract_files import *  # noqa: F403
    from .known_students import *  # noqa: F403
    from .known_students.find import *  # noqa: F403
    from .precision import *  # noqa: F403
    from .student import *  # noqa: F403
    from .text_embeds import *  # noqa: F403
    from .wan_vae import *  # noqa: F403
    from .world import *  # noqa: F403

# A package below lists its own names as well: each list can be read, by people and type checkers, without an import.
_EXPORTS = {
    "checkpoint": ("CheckpointError",),
    "contract_files": ("read_contract", "stamp"),
    "known_students": ("KnownStudent", "KnownStudents", "Recognition", "load_known_students"),
    "known_students.find": ("FoundContract", "find_contract"),
    "precision": ("choose_dtype",),
    "student": (
        "PreviewColours",
        "Student",
        "StudentCheckpoint",
        "StudentConfig",
        "StudentNetwork",
        "build_projection",
        "fit_contract",
        "fit_preview_colours",
        "invert_projection",
        "load_student",
        "merge_lora",
        "pool_text",
        "read_student",
        "save_student",
    ),
    "text_embeds": ("read_text_embeds", "save_text_embeds", "trim_padding"),
    "wan_vae": ("WAN21", "WAN22", "Tiling", "WanVAE", "WanVAEConfig", "load_wan_vae", "save_wan_vae"),
    "world": (
        "ARMS",
        "Diagnosis",
        "DynamicsConfig",
        "DynamicsModel",
        "LatentActionModel",
        "LatentActionsConfig",
        "Rollout",
        "RolloutConfig",
        "RolloutProgress",
        "RolloutState",
        "Run",
        "SessionRecord",
        "TokenizerConfig",
        "VideoTokenizer",
        "World",
        "WorldSession",
        "convert_world",
        "diagnose",
        "find_checkpoints",
        "find_runs",
        "fit_frames",
        "infer_actions",
        "load_world",
        "parse_actions",
        "replay",
        "rollout",
        "save_world",
    ),
}
"""Each module or package with the names that it gives to the public surface."""

__getattr__, __dir__, __all__ = attach(__name__, _EXPORTS)  # the table above is the one list of names
