"""Frames as rows of patches, and back."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

__all__ = ["cut_patches", "join_patches"]


def cut_patches(frames: Tensor, side: int) -> Tensor:
    """Cut frames (b, t, c, S, S) into ``side * side`` patches, row by row: (b, t, p, c * i * j)."""
    return rearrange(frames, "b t c (y i) (x j) -> b t (y x) (c i j)", y=side, x=side)


def join_patches(patches: Tensor, side: int, patch_size: int) -> Tensor:
    """Put patches (b, t, p, c * i * j) together as frames (b, t, c, S, S): the inverse of :func:`cut_patches`."""
    return rearrange(patches, "b t (y x) (c i j) -> b t c (y i) (x j)", y=side, i=patch_size, j=patch_size)
