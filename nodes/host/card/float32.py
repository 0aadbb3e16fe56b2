"""Full float32 where somebody chose fp32: cards since Ampere would round to TF32 inside of convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["full_float32"]


@contextmanager
def full_float32(dtype: torch.dtype | None) -> Iterator[None]:
    """Let convolutions in float32 compute in float32, for a block; other dtypes are left alone.

    Args:
        dtype: That the network computes in.
    """
    if dtype is not torch.float32 or not has_cudnn():
        yield
        return
    name = _find_switch()
    before, exact = getattr(_OWNERS[name], name), _EXACT[name]
    if before == exact:
        yield
        return
    setattr(_OWNERS[name], name, exact)
    try:
        yield
    finally:
        setattr(_OWNERS[name], name, before)


def has_cudnn() -> bool:
    """Whether anything is computed by cuDNN in this process."""
    return torch.cuda.is_available()


_EXACT = {"allow_tf32": False, "fp32_precision": "ieee"}
_OWNERS: dict[str, Any] = {
    "allow_tf32": torch.backends.cudnn,
    "fp32_precision": getattr(torch.backends.cudnn, "conv", None),  # since torch 2.9
}


def _find_switch() -> str:
    """Return which switch this process uses: torch refuses to read the old one after the new one was moved."""
    try:
        _ = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return "fp32_precision"
    return "allow_tf32"
