"""How far frames are from the truth: squared error, and the peak signal-to-noise ratio of it."""

from __future__ import annotations

from torch import Tensor

__all__ = ["measure_squared_error", "to_psnr"]

_BEST = 100.0  # dB, stands for identical frames


def measure_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of images in [-1, 1], clamped to [0, 1]: (..., 3, H, W) -> (...)."""
    return (a.float().clamp(-1, 1) / 2 - b.float().clamp(-1, 1) / 2).square().mean((-3, -2, -1))


def to_psnr(mse: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of a mean squared error in [0, 1], at most 100."""
    return (-10 * mse.clamp_min(1e-20).log10()).clamp_max(_BEST)
