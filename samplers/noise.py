"""Noise that belongs to an item, not to a batch: item i draws the same numbers whatever the batch size and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Seed", "item_seed", "per_item_noise", "step_noise"]

Seed: TypeAlias = int | Sequence[int]
"""Of a batch: item i has ``seed + i``, or the i-th of several."""

_SEEDS = 2**63 - 1  # torch.Generator takes seeds below this


def per_item_noise(
    shape: Sequence[int], seed: Seed, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return standard normal noise in which item i is what its own seed draws alone.

    It is drawn in float32 on the CPU and then moved, so that it is the same on every device. For one item it is Wan's
    own starting noise for that seed on the CPU.

    Args:
        shape: (b, ...), of the result.
        seed: Of the first item, from 0, the next ones counted up; or one for each item.
        device: Where the result goes.
        dtype: Of the result.

    Raises:
        ValueError: The shape is empty, a seed is negative, or there is another number of seeds than of items.
    """
    if not shape:
        raise ValueError("shape is empty; give the batch size first, then the shape of one item.")
    items = [_draw(shape[1:], item_seed(seed, index, shape[0])) for index in range(shape[0])]
    noise = torch.stack(items) if items else torch.empty(tuple(shape))
    return noise.to(device=device, dtype=dtype)


def step_noise(x: Tensor, seed: Seed, step: int) -> Tensor:
    """Return fresh noise like ``x`` (b, ...) for one step of a stochastic solver, item by item.

    It depends on the item's seed and on the step only, so a run can be repeated, split and resumed.

    Args:
        x: (b, ...), whose shape, dtype and device the noise gets.
        seed: Of the run; item i uses ``seed + i``, or the i-th of several.
        step: Index of the step.
    """
    items = [_draw(x.shape[1:], _mix(item_seed(seed, index, x.shape[0]), step)) for index in range(x.shape[0])]
    return torch.stack(items).to(x)


def item_seed(seed: Seed, index: int, count: int) -> int:
    """Return the seed of item ``index`` of a batch of ``count``.

    Raises:
        ValueError: It is negative, or there is another number of seeds than of items.
    """
    if not isinstance(seed, int) and len(seed) != count:
        raise ValueError(f"{len(seed)} seeds are given for a batch of {count}; give one number, or one for each item.")
    found = seed + index if isinstance(seed, int) else seed[index]
    if found < 0:
        raise ValueError(f"seed is {found}; allowed are 0 and above.")
    return found


def _draw(shape: Sequence[int], seed: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed % _SEEDS)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")


def _mix(seed: int, step: int) -> int:
    """Spread (seed, step) over all seeds, so that no step repeats the starting noise of a neighbouring seed."""
    value = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1B54A32D192ED03) % 2**64
    return (value ^ (value >> 29)) * 0xBF58476D1CE4E5B9 % _SEEDS
