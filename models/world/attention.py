"""The two attentions of a space-time block: over the patches of one frame, and over time at one patch."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend_over_patches", "attend_over_time"]

# Below this width the CPU's fused kernel spends most of its time in products that are too narrow for it; three plain
# calls on parts of a batch are faster (docs/benchmarks-world.md).
_NARROW_HEAD = 16
_SCORES_AT_ONCE = 2**19
# The elementwise form holds (b, queries, keys, p, e) numbers: faster for the short windows of a rollout only.
_ELEMENTWISE_FRAMES = 8


def attend_over_patches(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Let every patch of a frame look at all patches of that frame: q, k, v (b, t, p, e) -> (b, t, p, e)."""
    b, width = q.shape[0], q.shape[-1] // heads
    if q.device.type == "cpu" and width < _NARROW_HEAD and not (torch.is_grad_enabled() and q.requires_grad):
        return _narrow_over_patches(q, k, v, heads)
    q, k, v = (rearrange(x, "b t p (h d) -> (b t) h p d", h=heads) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v)
    return rearrange(out, "(b t) h p d -> b t p (h d)", b=b)


def _narrow_over_patches(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend in parts that stay in the cache, with transposed values: (d, p) x (p, p) is the fast shape."""
    b, _, patches, width = *q.shape[:3], q.shape[-1] // heads
    q = rearrange(q * width**-0.5, "b t p (h d) -> (b t h) p d", h=heads).contiguous()
    k, v = (rearrange(x, "b t p (h d) -> (b t h) d p", h=heads).contiguous() for x in (k, v))
    part = min(len(q), max(heads, _SCORES_AT_ONCE // patches**2))
    buffer = q.new_empty(part, patches, patches)
    out = torch.empty_like(v)
    for start in range(0, len(q), part):
        now = slice(start, start + part)
        scores = buffer[: len(q[now])]
        torch.bmm(q[now], k[now], out=scores)
        torch.softmax(scores, -1, out=scores)
        torch.bmm(v[now], scores.transpose(1, 2), out=out[now])
    return rearrange(out, "(b t h) d p -> b t p (h d)", b=b, h=heads)


def attend_over_time(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Let every patch look at itself in this and earlier frames.

    Shapes:
        q (b, n, p, e): the last n frames of the window; k, v (b, t, p, e): the whole window, t >= n -> (b, n, p, e).
    """
    n, t = q.shape[1], k.shape[1]
    if t == 1:
        return v
    if t > _ELEMENTWISE_FRAMES or (torch.is_grad_enabled() and q.requires_grad):
        return _fused_over_time(q, k, v, heads)
    return torch.cat([_one_frame(q[:, i], k[:, : t - n + i + 1], v[:, : t - n + i + 1], heads) for i in range(n)], 1)


def _fused_over_time(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    b, n, t = q.shape[0], q.shape[1], k.shape[1]
    q, k, v = (rearrange(x, "b t p (h d) -> (b p) h t d", h=heads) for x in (q, k, v))
    seen = torch.ones(n, t, dtype=torch.bool, device=q.device).tril(t - n)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return rearrange(out, "(b p) h t d -> b t p (h d)", b=b)


def _one_frame(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend from one frame, by products and sums: thousands of 1 x t matrices are too small for a matrix kernel."""
    q = rearrange(q, "b p (h d) -> b 1 p h d", h=heads)
    k, v = (rearrange(x, "b t p (h d) -> b t p h d", h=heads) for x in (k, v))
    scores = (q * k).sum(-1, keepdim=True) * q.shape[-1] ** -0.5
    out = (scores.softmax(dim=1) * v).sum(1, keepdim=True)
    return rearrange(out, "b t p h d -> b t p (h d)")
