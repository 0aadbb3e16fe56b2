"""Pixels repeated 2x2 and then convolved 3x3, on a CPU: 25 (float32) or 64 products for 16 outputs instead of 144.

Along one side, four outputs of a doubled row see four pixels p q q r r s. With the taps a, b, c they are

    y0 = P + B - F    P = a (p - r)    F = (b + c - a) / 2 (r - q)
    y1 = B + E        B = (a + b + c) / 2 (q + r)
    y2 = B + F        D = c (s - q)    E = (c - a - b) / 2 (r - q)
    y3 = B + D - E

five products of four differences. All factors are 1: the error is half that of a direct convolution. The sums would
still cost bfloat16 too many digits. There each of the four outputs of a pixel is a 2x2 convolution of its own, because
taps that fall on the same pixel add up: a, b + c for the even outputs, a + b, c for the odd ones. The doubled picture
is never made.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .winograd import Scratch, affordable, wide

__all__ = ["PAIR", "convolve_doubled", "doubling_pays", "transform_doubling_kernel"]

PAIR = 2  # pixels of a block, along each side; it becomes four outputs
_BAND = 1024  # pixels done together: their points stay in the cache
_TAPS = ((1, 0, 0), (0.5, 0.5, 0.5), (0, 0, 1), (-0.5, 0.5, 0.5), (-0.5, -0.5, 0.5))  # P, B, D; F, E share r - q


def doubling_pays(weight: Tensor, pixels: int) -> bool:
    """Whether a doubling with this kernel (o, i, 3, 3) of so many pixels (over all frames) is worth this form."""
    if weight.dtype == torch.float32:
        return wide(weight) and affordable(25 * weight.shape[0], pixels)
    return weight.dtype == torch.bfloat16 and wide(weight)


def transform_doubling_kernel(weight: Tensor) -> list[Tensor]:
    """The kernels that :func:`convolve_doubled` takes for a kernel (o, i, 3, 3).

    In float32, for each of the 4x4 differences, columns first, its kernels side by side: (i, o to 4 o); else the four
    kernels (o, i, 2, 2) of the outputs of a pixel, rows first.
    """
    if weight.dtype != torch.float32:
        w = weight.float()
        rows = [torch.cat(taps, 2) for taps in _halves(w, 2)]
        kernels = [torch.cat(taps, 3) for row in rows for taps in _halves(row, 3)]
        return [kernel.to(weight.dtype, memory_format=torch.channels_last) for kernel in kernels]
    taps = torch.tensor(_TAPS)
    both = torch.einsum("xk,yl->xykl", taps, taps).reshape(25, 9)
    grid = (both @ weight.permute(3, 2, 1, 0).reshape(9, -1)).view(5, 5, weight.shape[1], weight.shape[0])
    groups = (slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 5))
    return [grid[x, y].permute(2, 0, 1, 3).flatten(1).contiguous() for x in groups for y in groups]


def convolve_doubled(window: Tensor, kernels: list[Tensor], bias: Tensor, scratch: Scratch) -> Tensor:
    """Double and convolve a window that has one pixel of zeros on all sides.

    Shapes: window (t, c, 2a + 2, 2b + 2), channels_last -> (t, o, 4a, 4b), channels_last.
    """
    if len(kernels) == 4:
        return _convolve_halves(window, kernels, bias)
    x = window.permute(0, 2, 3, 1)  # t h w c
    frames, a, b = x.shape[0], (x.shape[1] - 2) // PAIR, (x.shape[2] - 2) // PAIR
    y = torch.empty(frames, 4 * a, 4 * b, len(bias))
    step = max(1, _BAND // (PAIR * PAIR * b * frames))
    for top in range(0, a, step):
        band = x[:, PAIR * top : PAIR * (top + step) + 2]
        _convolve_band(band, kernels, bias, y[:, 4 * top : 4 * (top + step)], scratch)
    return y.permute(0, 3, 1, 2)


def _halves(w: Tensor, dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """The two taps along a side for the even outputs, and for the odd ones."""
    a, b, c = w.split(1, dim)
    return [a, b + c], [a + b, c]


def _convolve_halves(window: Tensor, kernels: list[Tensor], bias: Tensor) -> Tensor:
    frames, _, h, w = window.shape
    shape = (frames, len(bias), 2 * (h - 2), 2 * (w - 2))
    y = torch.empty(shape, dtype=window.dtype, memory_format=torch.channels_last)
    for i, kernel in enumerate(kernels):
        row, column = divmod(i, 2)
        y[:, :, row::2, column::2] = F.conv2d(window[:, :, row : h - 1 + row, column : w - 1 + column], kernel, bias)
    return y


def _convolve_band(x: Tensor, kernels: list[Tensor], bias: Tensor, y: Tensor, scratch: Scratch) -> None:
    """Some rows of blocks: (t, 2a + 2, 2b + 2, c) -> ``y`` (t, 4a, 4b, o)."""
    frames, a, b, c, o = x.shape[0], y.shape[1] // 4, y.shape[2] // 4, x.shape[3], y.shape[3]
    by_row = scratch.take("rows", 4, frames, a, *x.shape[2:])
    _differences([x[:, i : i + 2 * a - 1 : 2] for i in range(4)], by_row)
    points = scratch.take("points", 4, 4, frames, a, b, c)
    _differences([by_row[:, :, :, j : j + 2 * b - 1 : 2] for j in range(4)], points)
    products = scratch.take("products", 25, frames * a * b * o)
    grid: list[list[Tensor]] = [[] for _ in range(5)]  # by column, then row
    start = 0
    for i, (point, kernel) in enumerate(zip(points.flatten(0, 1), kernels, strict=True)):
        count = kernel.shape[1] // o
        product = products[start : start + count].view(-1, count * o)
        torch.mm(point.reshape(-1, c), kernel, out=product)
        start += count
        found = product.view(frames, a, b, -1, 2 if i % 4 == 3 else 1, o)
        for column in range(found.shape[3]):
            grid[i // 4 + column] += found[..., column, :, :].unbind(3)
    grid[1][1] += bias
    by_row = scratch.take("rows", 4, 5, frames, a, b, o)
    for row in range(5):
        _outputs([column[row] for column in grid], [by_row[k, row] for k in range(4)])
    blocks = y.unflatten(2, (b, 4)).unflatten(1, (a, 4))  # t a 4 b 4 o
    _outputs(list(by_row.unbind(1)), [blocks[:, :, k].movedim(3, 0) for k in range(4)])


def _differences(d: list[Tensor], out: Tensor) -> None:
    """Four neighbours p, q, r, s -> p - r, q + r, s - q, r - q."""
    p, q, r, s = d
    torch.sub(p, r, out=out[0])
    torch.add(q, r, out=out[1])
    torch.sub(s, q, out=out[2])
    torch.sub(r, q, out=out[3])


def _outputs(m: list[Tensor], out: list[Tensor]) -> None:
    """The five products P, B, D, F, E -> four outputs; P and D are lost."""
    p, b, d, f, e = m
    torch.add(p.sub_(f), b, out=out[0])
    torch.add(b, e, out=out[1])
    torch.add(b, f, out=out[2])
    torch.add(d.sub_(e), b, out=out[3])
