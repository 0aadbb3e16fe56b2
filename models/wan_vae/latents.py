"""Latents on disk, as ComfyUI's Save Latent writes them."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["read_latents"]

_LATENT = "latent_tensor"  # ComfyUI's name


def read_latents(path: Path) -> Tensor:
    """Return the latents (1, c, t, h, w) of a file.

    Raises:
        ValueError: It cannot be read, or holds no latents, or those of several videos.
    """
    try:
        with safe_open(path, "pt") as file:
            latents = file.get_tensor(_LATENT)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path.name}: holds no tensor {_LATENT} ({error}); take a file of ComfyUI's Save Latent."
        ) from error
    latents = latents.unsqueeze(2) if latents.ndim == 4 else latents
    if latents.ndim != 5 or len(latents) != 1:
        raise ValueError(f"{path.name}: {_LATENT} has shape {list(latents.shape)}; it must be (1, c, t, h, w).")
    return latents.float()
