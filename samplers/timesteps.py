"""Training timesteps: what a network was fed at a sigma, and the sigma of a timestep."""

from __future__ import annotations

from typing import overload

from torch import Tensor

__all__ = ["TRAIN_TIMESTEPS", "ddim_sigma", "ddim_timestep", "wan_timestep"]

TRAIN_TIMESTEPS = 1000
_DDIM_CLAMP = 1e-3


@overload
def wan_timestep(sigma: float) -> int: ...


@overload
def wan_timestep(sigma: Tensor) -> Tensor: ...


def wan_timestep(sigma: float | Tensor) -> int | Tensor:
    """Return the integer timestep that Wan feeds at a flow ``sigma``: ``1000 * sigma``, truncated (int64)."""
    if isinstance(sigma, Tensor):
        return (sigma.double() * TRAIN_TIMESTEPS).long()
    return int(sigma * TRAIN_TIMESTEPS)


def ddim_timestep(ratio: float) -> int:
    """Return the timestep of the DDIM table at ``sigma / alpha = ratio``, truncated and kept within 0 to 999."""
    signal = 1 / (1 + ratio * ratio)
    return min(max(int(TRAIN_TIMESTEPS * (1 - signal) + 1e-6), 0), TRAIN_TIMESTEPS - 1)


def ddim_sigma(timesteps: Tensor) -> Tensor:
    """Return the VP sigma of training timesteps 0..999, float64: alpha^2 = 1 - t / 1000, float32, clamped as there."""
    signal = (1 - timesteps.float() / TRAIN_TIMESTEPS).clamp(_DDIM_CLAMP, 1 - _DDIM_CLAMP)
    return (1 - signal.double()).sqrt()
