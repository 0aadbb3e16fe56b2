"""How a clip's frames are doubled and halved in the row-wise networks, where frames are the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..layers import TimeConv

__all__ = ["double_frames", "halve_frames", "mix"]


def double_frames(x: Tensor, conv: TimeConv) -> Tensor:
    """The first frame as it is, two for each of the others; the first takes no part in theirs, as officially.

    Shapes: (t, c, n, w) -> (2t - 1, c, n, w).
    """
    before_last, before, now = conv.taps()
    rest = x[1:]
    y = mix(rest, now, conv.bias)
    if len(rest) > 1:
        y[1:] += mix(rest[:-1], before)
    if len(rest) > 2:
        y[2:] += mix(rest[:-2], before_last)
    return torch.cat([x[:1], rearrange(y, "t (k c) h w -> (t k) c h w", k=2)])


def halve_frames(x: Tensor, conv: TimeConv) -> Tensor:
    """The first frame as it is, one for each pair of the others with the frame before the pair.

    Shapes: (t, c, n, w) -> ((t + 1) / 2, c, n, w).
    """
    before_last, before, now = conv.taps()
    y = mix(x[2::2], now, conv.bias)
    y += mix(x[1:-1:2], before)
    y += mix(x[:-2:2], before_last)
    return torch.cat([x[:1], y])


def mix(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution, also of no rows at all."""
    return F.conv2d(x, kernel, bias) if x.shape[2] else x.new_empty(x.shape[0], kernel.shape[0], 0, x.shape[3])
