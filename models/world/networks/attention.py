"""The two attentions of a space-time block: over the patches of one frame, and over time at one patch."""

from __future__ import annotations

from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend_over_patches", "attend_over_time"]

# Below this width the CPU's fused kernel spends most of its time in products that are too narrow for it; three plain
# calls on parts of a batch are faster (docs/benchmarks.md).
_NARROW_HEAD = 16
_SCORES_AT_ONCE = 2**19
# The elementwise form takes (b, queries, keys, p, e) floats: faster for the short windows of a rollout only.
_ELEMENTWISE_FRAMES = 8


def attend_over_patches(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend from every patch of a frame to all patches of that frame: q, k, v (b, t, p, e) -> (b, t, p, e)."""
    b, width = q.shape[0], q.shape[-1] // heads
    if q.device.type == "cpu" and width < _NARROW_HEAD and not (torch.is_grad_enabled() and q.requires_grad):
        return _attend_narrow_heads(q, k, v, heads)
    q, k, v = (rearrange(x, "b t p (h d) -> (b t) h p d", h=heads) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v)
    return rearrange(out, "(b t) h p d -> b t p (h d)", b=b)


def _attend_narrow_heads(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend in parts that stay in the cache, with transposed values: (d, p) x (p, p) is the fast shape."""
    b, _, patches, width = *q.shape[:3], q.shape[-1] // heads
    q = rearrange(q * width**-0.5, "b t p (h d) -> (b t h) p d", h=heads).contiguous()
    k, v = (rearrange(x, "b t p (h d) -> (b t h) d p", h=heads).contiguous() for x in (k, v))
    part = min(len(q), max(heads, _SCORES_AT_ONCE // patches**2))
    buffer = q.new_empty(part, patches, patches)
    out = torch.empty_like(v)
    for start in range(0, len(q), part):
        rows = slice(start, start + part)
        scores = buffer[: len(q[rows])]
        torch.bmm(q[rows], k[rows], out=scores)
        torch.softmax(scores, -1, out=scores)
        torch.bmm(v[rows], scores.transpose(1, 2), out=out[rows])
    return rearrange(out, "(b t h) d p -> b t p (h d)", b=b, h=heads)


def attend_over_time(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend from every patch to itself in this frame and in earlier ones.

    Shapes:
        q (b, n, p, e): the last n frames of the window; k, v (b, t, p, e): the whole window, t >= n -> (b, n, p, e).
    """
    n, t = q.shape[1], k.shape[1]
    if t == 1:
        return v
    if t > _ELEMENTWISE_FRAMES or q.device.type != "cpu":  # on a card one kernel, not six for each frame
        return _attend_fused_over_time(q, k, v, heads)
    frames = ((q[:, i], slice(t - n + i + 1)) for i in range(n))
    return torch.cat([_attend_from_one_frame(own, k[:, past], v[:, past], heads) for own, past in frames], 1)


def _attend_fused_over_time(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    b, n, t = q.shape[0], q.shape[1], k.shape[1]
    q, k, v = (rearrange(x, "b t p (h d) -> (b p) h t d", h=heads) for x in (q, k, v))
    # the last frame alone sees the whole window
    causal = _make_causal_mask(n, t, q.device) if n > 1 else None
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=causal)
    return rearrange(out, "(b p) h t d -> b t p (h d)", b=b)


@lru_cache(maxsize=64)
def _make_causal_mask(n: int, t: int, device: torch.device) -> Tensor:
    """Return what the last n of t frames may look at, (n, t) bool; it is kept, so do not write to it."""
    with torch.inference_mode(False):
        return torch.ones(n, t, dtype=torch.bool, device=device).tril(t - n)


def _attend_from_one_frame(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend from one frame, by products and sums: thousands of 1 x t matrices are too small for a matrix kernel."""
    q = rearrange(q, "b p (h d) -> b 1 p h d", h=heads)
    k, v = (rearrange(x, "b t p (h d) -> b t p h d", h=heads) for x in (k, v))
    scores = (q * k).sum(-1, keepdim=True) * q.shape[-1] ** -0.5
    out = (scores.softmax(dim=1) * v).sum(1, keepdim=True)
    return rearrange(out, "b t p h d -> b t p (h d)")
