"""Results that cannot be right: NaN and infinity, noticed at the step and in the tensor where they first show."""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.solver import OnStep

__all__ = ["FiniteWatch", "NonFiniteError", "check_finite"]


class NonFiniteError(ArithmeticError):
    """A tensor holds NaN or infinity, so what would be made of it is not an image."""


def check_finite(tensor: Tensor, name: str, remedy: str) -> None:
    """Check that every value of a tensor is a finite number.

    Args:
        tensor: Of any shape.
        name: What it is, for the message.
        remedy: What to do about it, for the message.

    Raises:
        NonFiniteError: Some are not.
    """
    # one sum tells nearly always, and takes no memory; only a doubtful one asks for each value
    if torch.isfinite(tensor.sum(dtype=torch.float64) if tensor.device.type != "mps" else tensor.sum()):
        return
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise NonFiniteError(f"{name} holds {bad} of {tensor.numel()} values that are NaN or infinite; {remedy}")


class FiniteWatch:
    """An ``on_step`` that remembers, without waiting for the device, in which step the latent stopped being finite."""

    def __init__(self, steps: int, on_step: OnStep | None = None) -> None:
        """Watch a run of ``steps`` steps and pass each on to ``on_step``."""
        self.steps, self.on_step = steps, on_step
        self.finite: list[Tensor] = []

    def __call__(self, i: int, x: Tensor, x0: Tensor) -> None:
        """Take in one step of the sampling loop."""
        self.finite.append(torch.isfinite(x).all())
        if self.on_step is not None:
            self.on_step(i, x, x0)

    def check(self, source: str) -> None:
        """Check the whole run.

        Raises:
            NonFiniteError: The latent was not finite after some step; it names the first one.
        """
        flags = torch.stack(self.finite).tolist()
        if not all(flags):
            raise NonFiniteError(
                f"{source}: the latent is NaN or infinite from step {flags.index(False) + 1} of {self.steps} on; the "
                "weights or the text are damaged, or half precision overflows: try --precision bf16 or fp32."
            )
