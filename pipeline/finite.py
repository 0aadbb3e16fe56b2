"""Runs that cannot be right: NaN and infinity, noticed at the step where they first show."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.finite import NonFiniteError
from ..samplers.solver import OnStep

__all__ = ["FiniteWatch"]


class FiniteWatch:
    """An ``on_step`` that remembers, without waiting for the device, in which step the latent stopped being finite."""

    def __init__(self, source: str, on_step: OnStep | None = None) -> None:
        """Watch a run of ``source``'s network and pass each step on to ``on_step``."""
        self.source, self.on_step = source, on_step
        self.finite: list[Tensor] = []

    def __call__(self, i: int, x: Tensor, x0: Tensor) -> None:
        """Take in one step of the sampling loop."""
        self.finite.append(torch.isfinite(x).all())
        if self.on_step is not None:
            self.on_step(i, x, x0)

    def check(self, steps: int) -> None:
        """Check a run of ``steps`` steps.

        Raises:
            NonFiniteError: The latent was not finite after some step; it names the first one.
        """
        flags = torch.stack(self.finite).tolist()
        if not all(flags):
            raise NonFiniteError(
                f"{self.source}: the latent is NaN or infinite from step {flags.index(False) + 1} of {steps} on; the "
                "weights or the text are damaged, or half precision overflows: try --precision bf16 or fp32."
            )
