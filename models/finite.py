"""Tensors that cannot be right: NaN and infinity."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NonFiniteError", "check_finite", "is_finite"]


class NonFiniteError(ArithmeticError):
    """A tensor holds NaN or infinity, so what would be made of it is not an image."""


def is_finite(tensor: Tensor) -> bool:
    """Whether every value of a tensor is a finite number; reads one value from its device and takes no memory."""
    if not tensor.numel():
        return True
    return bool(torch.isfinite(tensor.amin()) & torch.isfinite(tensor.amax()))  # NaN is in both


def check_finite(tensor: Tensor, name: str, remedy: str) -> None:
    """Check that every value of a tensor is a finite number.

    Args:
        tensor: of any shape.
        name: what it is, for the message.
        remedy: what to do about it, for the message.

    Raises:
        NonFiniteError: some are not.
    """
    if not is_finite(tensor):
        bad = int((~torch.isfinite(tensor)).sum())
        raise NonFiniteError(f"{name} holds {bad} of {tensor.numel()} values that are NaN or infinite; {remedy}")
