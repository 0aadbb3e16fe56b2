"""Training timesteps: what a network was fed at a sigma, and the sigma of a timestep."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from ..training_rules import DDIM_CLAMP, TIMESTEP_CASTS, TRAIN_TIMESTEPS

__all__ = [
    "cast_timesteps",
    "ddim_sigma",
    "ddim_timestep",
    "timesteps_at",
    "to_float64",
    "wan_timestep",
]


_WITH_FLOAT64 = {"cpu", "cuda", "meta"}
"""Kinds of devices that all have float64; of others some have none."""


def to_float64(values: Tensor) -> Tensor:
    """Return numbers of any shape in float64: where they are, or on the CPU where their device may have none."""
    return (values if values.device.type in _WITH_FLOAT64 else values.cpu()).double()


@overload
def wan_timestep(sigma: float) -> int: ...


@overload
def wan_timestep(sigma: Tensor) -> Tensor: ...


def wan_timestep(sigma: float | Tensor) -> int | Tensor:
    """Return the integer timestep that Wan feeds at a flow ``sigma``: ``1000 * sigma``, truncated.

    Args:
        sigma: 0 to 1, a number or a tensor of any shape.

    Shapes: as ``sigma``'s, int64; on the CPU where sigma's device has no float64.
    """
    if isinstance(sigma, Tensor):
        return (to_float64(sigma) * TRAIN_TIMESTEPS).long()
    return int(sigma * TRAIN_TIMESTEPS)


def timesteps_at(sigmas: Tensor, timestep_cast: str) -> Tensor:
    """Return the timesteps of flow sigmas (n,) as they are fed: ``1000 * sigma``, cast by :func:`cast_timesteps`."""
    exact = timestep_cast in ("int64_trunc", "table")
    return cast_timesteps((to_float64(sigmas) if exact else sigmas.float()) * TRAIN_TIMESTEPS, timestep_cast)


def cast_timesteps(timesteps: Tensor, timestep_cast: str) -> Tensor:
    """Return timesteps (n,) as they are fed: int64 for ``int64_trunc`` and ``table``, otherwise float32.

    A table says itself what is fed at its sigmas; at any other sigma the timestep is truncated.

    Args:
        timesteps: Floating point, 0 to 1000.
        timestep_cast: One of ``TIMESTEP_CASTS``. ``bf16`` gives numbers of bfloat16: multiples of 4 above 512.

    Raises:
        ValueError: The cast is none of these.
    """
    if timestep_cast not in TIMESTEP_CASTS:
        raise ValueError(f"timestep_cast is {timestep_cast!r}; allowed are {', '.join(map(repr, TIMESTEP_CASTS))}.")
    if timestep_cast in ("int64_trunc", "table"):
        return timesteps.long()
    return timesteps.float() if timestep_cast == "float" else timesteps.to(torch.bfloat16).float()


def ddim_timestep(ratio: float) -> int:
    """Return the timestep of the DDIM table at ``sigma / alpha = ratio``, truncated and kept within 0 to 999."""
    signal = 1 / (1 + ratio * ratio)
    return min(max(int(TRAIN_TIMESTEPS * (1 - signal) + 1e-6), 0), TRAIN_TIMESTEPS - 1)


def ddim_sigma(timesteps: Tensor) -> Tensor:
    """Return the VP sigma of training timesteps 0..999, float64: alpha^2 = 1 - t / 1000, float32, clamped as there."""
    signal = (1 - timesteps.float() / TRAIN_TIMESTEPS).clamp(DDIM_CLAMP, 1 - DDIM_CLAMP)
    return (1 - signal.double()).sqrt()
