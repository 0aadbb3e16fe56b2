"""Small trained models that show what the pack does, and the scripts that trained them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["MODELS", "demo_file"]

MODELS = Path(__file__).parent / "models"
"""Laid out as ComfyUI's own ``models`` folder, so that the pack can register its parts there."""

_PREFIX = "wan-lite-demo"
_FOLDERS = {"vae": "vae", "student": "wan_students", "captions": "wan_lite_embeds", "world": "world_models"}


def demo_file(name: str, models: Path = MODELS) -> Path:
    """Return where a demo file lies, ``student_flow`` for one, below the models folder; it need not be there yet."""
    return models / _FOLDERS[name.partition("_")[0]] / _PREFIX / f"{name}.safetensors"
