"""Tensors that cannot be right: NaN and infinity."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["NonFiniteError", "check_finite", "is_finite"]

_ELEMENTS_AT_ONCE = 2**22


class NonFiniteError(ArithmeticError):
    """A tensor holds NaN or infinity, so what would be made of it is not an image."""


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor of any dtype holds neither NaN nor infinity; one value is read from its device, without a copy.

    Floats of 8 bits, which torch cannot compare, are widened in parts.
    """
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    if tensor.device.type != "cpu" and tensor.itemsize > 1:  # the fewest launches: NaN and infinity are not below it
        return bool(torch.linalg.vector_norm(tensor, math.inf) < math.inf)
    wide = tensor.itemsize > 1
    parts = [tensor] if wide else map(Tensor.float, tensor.reshape(-1).split(_ELEMENTS_AT_ONCE))
    return all(bool(torch.isfinite(part.amin()) & torch.isfinite(part.amax())) for part in parts)  # NaN is in both


def check_finite(tensor: Tensor, name: str, remedy: str) -> None:
    """Check that every value of a tensor is a finite number.

    Args:
        tensor: Of any shape.
        name: What it is, for the message.
        remedy: What to do about it, for the message.

    Raises:
        NonFiniteError: Some are not.
    """
    if not is_finite(tensor):
        bad = int((~torch.isfinite(tensor)).sum())
        raise NonFiniteError(f"{name} holds {bad} of {tensor.numel()} values that are NaN or infinite; {remedy}")
