"""Buffers for the intermediate values of convolution algorithms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Workspace"]


class Workspace:
    """Buffers that are used again and again: fresh memory would cost more than the arithmetic done in it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return an uninitialised tensor of this shape on the CPU.

        Args:
            name: Which buffer; the tensor is valid until the same name and dtype are taken again.
            *shape: Of the tensor.
            dtype: Of the tensor.
        """
        size = math.prod(shape)
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name, dtype] = torch.empty(size, dtype=dtype)
        return buffer[:size].view(shape)
