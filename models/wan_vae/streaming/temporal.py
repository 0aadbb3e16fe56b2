"""Temporal up- and downsampling in the streaming layers, where the frames of a video are the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..layers import TimeConv

__all__ = ["convolve_1x1", "double_frames", "downsample_frames", "halve_frames", "upsample_frames"]


def upsample_frames(x: Tensor, conv: TimeConv) -> Tensor:
    """Keep the first frame and make two of each other; the first takes no part in theirs, as officially.

    Shapes:
        (t, c, n, w) -> (2t - 1, c, n, w).
    """
    return torch.cat([x[:1], double_frames(x[1:], conv, 0)])


def double_frames(x: Tensor, conv: TimeConv, earlier: int) -> Tensor:
    """Make two frames of each but the first ``earlier`` ones, which they look back at.

    Shapes:
        (earlier + t, c, n, w) -> (2t, c, n, w).
    """
    before_last, before, now = conv.split_slices()
    y = convolve_1x1(x[earlier:], now, conv.bias)
    for ago, kernel in ((1, before), (2, before_last)):
        first = max(0, ago - earlier)  # of the new frames that have one so long ago
        if earlier + len(y) > ago:
            y[first:] += convolve_1x1(x[earlier + first - ago : -ago], kernel)
    return rearrange(y, "t (k c) h w -> (t k) c h w", k=2)


def downsample_frames(x: Tensor, conv: TimeConv) -> Tensor:
    """Keep the first frame and make one of each pair of the others, with the frame before the pair.

    Shapes:
        (t, c, n, w) -> ((t + 1) / 2, c, n, w).
    """
    return torch.cat([x[:1], halve_frames(x, conv)])


def halve_frames(x: Tensor, conv: TimeConv) -> Tensor:
    """Make one frame of each pair after the first frame, with the frame before the pair.

    Shapes:
        (1 + 2t, c, n, w) -> (t, c, n, w).
    """
    before_last, before, now = conv.split_slices()
    y = convolve_1x1(x[2::2], now, conv.bias)
    y += convolve_1x1(x[1:-1:2], before)
    y += convolve_1x1(x[:-2:2], before_last)
    return y


def convolve_1x1(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve (t, c, n, w) with a kernel (o, c, 1, 1); n may be 0."""
    return F.conv2d(x, kernel, bias) if x.shape[2] else x.new_empty(x.shape[0], kernel.shape[0], 0, x.shape[3])
