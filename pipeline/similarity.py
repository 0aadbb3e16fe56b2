"""How alike images look, by measures that another library computes well. Needs the extra ``world`` (kornia)."""

from __future__ import annotations

import importlib.util

from torch import Tensor

from .pictures.convert import to_unit

__all__ = ["has_ssim", "measure_ssim"]

_WINDOW = 11  # pixels, as Wang et al. have it; smaller frames get the largest odd window that fits


def has_ssim() -> bool:
    """Whether :func:`measure_ssim` has the library that it needs."""
    return importlib.util.find_spec("kornia") is not None


def measure_ssim(frames: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity of each frame to the true one; 1 for equal frames.

    Shapes:
        (b, n, 3, H, W) in [-1, 1], clamped -> (b, n).

    Source:
        Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, 2004; computed by kornia.
    """
    from kornia.metrics import ssim

    flat = [to_unit(images.float().clamp(-1, 1)).flatten(0, 1) for images in (frames, truth)]
    window = min(_WINDOW, (min(frames.shape[-2:]) - 1) // 2 * 2 + 1)
    values: Tensor = ssim(*flat, window_size=window)
    return values.mean((1, 2, 3)).reshape(frames.shape[:2])
