"""Full float32 where somebody chose fp32: cards since Ampere would round to TF32 inside of convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["full_float32"]


@contextmanager
def full_float32(dtype: torch.dtype | None) -> Iterator[None]:
    """Let convolutions in float32 compute in float32, for a block; other dtypes are left alone.

    Args:
        dtype: That the network computes in.
    """
    backend = torch.backends.cudnn
    if dtype is not torch.float32 or not backend.allow_tf32:
        yield
        return
    backend.allow_tf32 = False
    try:
        yield
    finally:
        backend.allow_tf32 = True
