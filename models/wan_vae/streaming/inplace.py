"""The norm and the middle attention, without autograd and in place, for the row-wise networks."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import Attention, PixelNorm

__all__ = ["attend", "norm_into"]

_SCORES = 2**22  # of queries and keys at a time, where they are held at all
_QUERIES = 4096  # pixels that ask at a time; bounds the attention's memory where no fused kernel takes its width


def attend(layer: Attention, x: Tensor) -> Tensor:
    """Self-attention over a whole picture, added to ``x`` in place; the queries go in groups to bound the memory.

    Shapes: (t, c, h, w) -> the same tensor.
    """
    for frame in x.split(1):
        _attend_frame(layer, frame)
    return x


def _attend_frame(layer: Attention, x: Tensor) -> None:
    c, (h, w) = x.shape[1], x.shape[2:]
    tokens = x.permute(0, 2, 3, 1).view(1, h * w, c)
    y = torch.empty_like(x)
    norm_into(x, layer.norm, y)
    normed = y.permute(0, 2, 3, 1).view(1, h * w, c)
    weight, bias = layer.to_qkv.weight.flatten(1), cast("Tensor", layer.to_qkv.bias)
    k, v = F.linear(normed, weight[c:], bias[c:]).split(c, dim=-1)
    by_products = x.device.type == "cpu" and x.dtype == torch.bfloat16  # there twice as fast as the fused kernel
    queries = max(64, _SCORES // (h * w)) if by_products else _QUERIES
    for group, out in zip(normed.split(queries, 1), tokens.split(queries, 1), strict=True):
        q = F.linear(group, weight[:c], bias[:c])
        if by_products:
            found = torch.softmax((q * c**-0.5) @ k.transpose(1, 2), -1) @ v
        else:
            found = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        out += F.linear(found, layer.proj.weight.flatten(1), layer.proj.bias)


def norm_into(x: Tensor, norm: PixelNorm, out: Tensor, silu: bool = False) -> None:
    """:class:`PixelNorm`, and SiLU, written to ``out``: passes in float32 over a hot piece, rounded once at the end."""
    exact = x.dtype == torch.float32
    y = torch.mul(x, _gain(x), out=out) if exact else x.float()
    if not exact:
        y *= _gain(y)
    y *= (norm.gamma.float() * norm.gamma.numel() ** 0.5).view(1, -1, 1, 1)
    if silu:
        F.silu(y, inplace=True)
    if not exact:
        out.copy_(y)


def _gain(x: Tensor) -> Tensor:
    """What makes the length of each pixel's channel vector 1."""
    return torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min_(1e-12).reciprocal_()
