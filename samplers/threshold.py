"""Limits on the predicted clean latent, for models whose predictions overshoot. All are off unless asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DynamicThreshold"]


@dataclass(frozen=True)
class DynamicThreshold:
    """Clamp each item to the ``ratio`` quantile s of its absolute values, s kept in [1, max_value], and divide by s.

    Made for pictures in [-1, 1]; with max_value 1 it is a plain clamp. Wan latents have a standard deviation near 1 and
    reach 4 and more, so for them it changes the picture: Wan itself leaves it off.

    Raises:
        ValueError: ratio outside (0, 1] or max_value below 1.

    Source: dynamic thresholding, arXiv 2205.11487, section 2.3.
    """

    ratio: float = 0.995
    max_value: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio is {self.ratio!r}; allowed are numbers above 0 up to 1; a usual value is 0.995.")
        if not self.max_value >= 1:
            raise ValueError(f"max_value is {self.max_value!r}; allowed are numbers from 1.")

    def __call__(self, x0: Tensor) -> Tensor:
        """Return the limited x0; shape (b, ...) and dtype stay."""
        magnitude = x0.detach().float().abs().flatten(1)
        limit = torch.quantile(magnitude, self.ratio, dim=1).clamp(1.0, self.max_value)
        limit = limit.to(x0).reshape(-1, *[1] * (x0.ndim - 1))
        return torch.clamp(x0, -limit, limit).div_(limit)
