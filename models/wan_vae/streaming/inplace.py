"""The norm and the middle attention in place, for the streaming layers."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import Attention, PixelNorm, has_fused_norm

__all__ = ["attend", "norm_into"]

_SCORES = 2**22  # attention scores at a time, where they are stored at all
_QUERIES = 4096  # queries at a time; bounds the attention's memory where no fused kernel takes its width


def attend(layer: Attention, x: Tensor) -> Tensor:
    """Add self-attention over each whole frame to ``x`` in place; the queries go in groups to bound the memory.

    Shapes:
        (t, c, h, w) -> the same tensor.
    """
    for frame in x.split(1):
        _attend_frame(layer, frame)
    return x


def _attend_frame(layer: Attention, x: Tensor) -> None:
    c, (h, w) = x.shape[1], x.shape[2:]
    tokens = x.permute(0, 2, 3, 1).view(1, h * w, c)  # a view of x: what is added to it is added there
    y = torch.empty_like(x)
    norm_into(x, layer.norm, y)
    normed = y.permute(0, 2, 3, 1).view(1, h * w, c)
    weight, bias = layer.to_qkv.weight.flatten(1), cast("Tensor", layer.to_qkv.bias)
    k, v = F.linear(normed, weight[c:], bias[c:]).split(c, dim=-1)
    unfused = x.device.type == "cpu" and x.dtype == torch.bfloat16  # there twice as fast as the fused kernel
    queries = max(64, _SCORES // (h * w)) if unfused else _QUERIES
    for group, out in zip(normed.split(queries, 1), tokens.split(queries, 1), strict=True):
        q = F.linear(group, weight[:c], bias[:c])
        if unfused:
            attended = torch.softmax((q * c**-0.5) @ k.transpose(1, 2), -1) @ v
        else:
            attended = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        out += F.linear(attended, layer.proj.weight.flatten(1), layer.proj.bias)


def norm_into(x: Tensor, norm: PixelNorm, out: Tensor, silu: bool = False) -> None:
    """Write :class:`PixelNorm` of ``x``, and SiLU, to ``out``: computed in float32, rounded once at the end.

    Args:
        x: (t, c, n, w).
        norm: The layer.
        out: Where the result goes, of the same shape and dtype.
        silu: Apply SiLU after the norm.
    """
    if has_fused_norm(x):
        y = norm(x)
        torch.ops.aten.silu.out(y, out=out) if silu else out.copy_(y)
        return
    exact = x.dtype == torch.float32
    y = torch.mul(x, _compute_inverse_norm(x), out=out) if exact else x.float()
    if not exact:
        y *= _compute_inverse_norm(y)
    y *= (norm.gamma.float() * norm.gamma.numel() ** 0.5).view(1, -1, 1, 1)
    if silu:
        F.silu(y, inplace=True)
    if not exact:
        out.copy_(y)


def _compute_inverse_norm(x: Tensor) -> Tensor:
    """Return 1 / norm over the channels; NaN where the norm overflows, lest a flat image hide that."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min_(1e-12)
    return norm.reciprocal().add_(norm, alpha=0.0)  # infinity times 0 is NaN
