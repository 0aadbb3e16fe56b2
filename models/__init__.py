"""The networks: Wan VAEs, distilled students, small world models. Needs torch, einops and safetensors; never ComfyUI.

The names below are loaded when they are first used, so that importing one kind of model does not import the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checkpoint import CheckpointError
    from .student import Student, StudentConfig, StudentNetwork, load_student, pool_text, save_student
    from .wan_vae import WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae
    from .world import World, load_world, rollout

__all__ = [
    "CheckpointError",
    "Student",
    "StudentConfig",
    "StudentNetwork",
    "WanVAE",
    "WanVAEConfig",
    "World",
    "load_student",
    "load_wan_vae",
    "load_world",
    "pool_text",
    "rollout",
    "save_student",
    "save_wan_vae",
]

_HOME = {
    "CheckpointError": "checkpoint",
    "Student": "student",
    "StudentConfig": "student",
    "StudentNetwork": "student",
    "WanVAE": "wan_vae",
    "WanVAEConfig": "wan_vae",
    "World": "world",
    "load_student": "student",
    "load_wan_vae": "wan_vae",
    "load_world": "world",
    "pool_text": "student",
    "rollout": "world",
    "save_student": "student",
    "save_wan_vae": "wan_vae",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
