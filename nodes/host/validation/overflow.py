"""A run whose numbers overflow: noticed at the step where it first shows, told with the tensor that is to blame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ....models.finite import NonFiniteError, is_finite

__all__ = ["OverflowWatch"]


class OverflowWatch:
    """Remembers, without waiting for the device, in which step the latent or the prediction stopped being finite."""

    def __init__(self) -> None:
        self._finite: list[Tensor] = []

    def see(self, x: Tensor, x0: Tensor) -> None:
        """Take in one step: the latent after it, and the clean latent that was predicted in it."""
        self._finite.append(torch.stack([torch.isfinite(x0).all(), torch.isfinite(x).all()]))

    def check(self, steps: int, inputs: Mapping[str, Iterable[tuple[str, Any]]]) -> None:
        """Check a run of ``steps`` steps.

        Args:
            steps: How many there were.
            inputs: What the network was given, to be looked at only after an overflow: the name of an input, and its
                tensors by name.

        Raises:
            NonFiniteError: The latent was not finite after some step; it names the first one and what overflowed.
        """
        if not self._finite:
            return
        flags = torch.stack(self._finite).cpu()
        bad = (~flags.all(dim=1)).nonzero()
        if not len(bad):
            return
        step = int(bad[0])
        what = "the latent" if flags[step, 0] else "the network's prediction"
        raise NonFiniteError(f"{what} is NaN or infinite from step {step + 1} of {steps} on; {_find_cause(inputs)}")


def _find_cause(inputs: Mapping[str, Iterable[tuple[str, Any]]]) -> str:
    """Return which input is to blame, or what else it can be."""
    for name, tensors in inputs.items():
        for part, tensor in tensors:
            if isinstance(tensor, Tensor) and not is_finite(tensor):
                return f"{name} ({part}) is so already: look at what made it."
    return (
        "what went in is finite, so a weight is too large or half precision overflows: load the model in bf16 or fp32, "
        "take a LoRA out, or use another copy of the checkpoint."
    )
