"""Noise that belongs to an item, not to a batch: item i draws the same numbers whatever the batch size and device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["per_item_noise", "step_noise"]

_SEEDS = 2**63 - 1  # torch.Generator takes seeds below this


def per_item_noise(
    shape: Sequence[int], seed: int, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return standard normal noise in which item i is what seed ``seed + i`` draws alone.

    It is drawn in float32 on the CPU and then moved, so that it is the same on every device. For one item it is Wan's
    own starting noise for that seed on the CPU.

    Args:
        shape: (b, ...), of the result.
        seed: of the first item, from 0.
        device: where the result goes.
        dtype: of the result.

    Raises:
        ValueError: the shape is empty or the seed is negative.
    """
    if not shape:
        raise ValueError("shape is empty; give the batch size first, then the shape of one item.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; allowed are 0 and above.")
    items = [_draw(shape[1:], seed + index) for index in range(shape[0])]
    noise = torch.stack(items) if items else torch.empty(tuple(shape))
    return noise.to(device=device, dtype=dtype)


def step_noise(x: Tensor, seed: int, step: int) -> Tensor:
    """Return fresh noise like ``x`` (b, ...) for one step of a stochastic solver, item by item.

    It depends on the item's seed and on the step only, so a run can be repeated, split and resumed.

    Args:
        x: (b, ...), whose shape, dtype and device the noise gets.
        seed: of the run; item i uses ``seed + i``.
        step: index of the step.
    """
    items = [_draw(x.shape[1:], _mix(seed + index, step)) for index in range(x.shape[0])]
    return torch.stack(items).to(x)


def _draw(shape: Sequence[int], seed: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed % _SEEDS)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")


def _mix(seed: int, step: int) -> int:
    """Spread (seed, step) over all seeds, so that no step repeats the starting noise of a neighbouring seed."""
    value = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1B54A32D192ED03) % 2**64
    return (value ^ (value >> 29)) * 0xBF58476D1CE4E5B9 % _SEEDS
