"""Nearest upsampling by 2 fused with the 3x3 convolution after it: 25 or 64 products for 16 outputs instead of 144.

**float32**, 25 products. Along one side, four outputs of an upsampled row see four pixels p q q r r s. With the kernel
a, b, c they are

    y0 = P + B - F    P = a (p - r)    F = (b + c - a) / 2 (r - q)
    y1 = B + E        B = (a + b + c) / 2 (q + r)
    y2 = B + F        D = c (s - q)    E = (c - a - b) / 2 (r - q)
    y3 = B + D - E

five products of four differences. All factors of the input and output transforms are 1, so the error is half that of a
direct convolution.

**bfloat16**, 64 products: the sums above would cost too many digits. Each of the four outputs of a pixel is a 2x2
convolution of its own (polyphase), because kernel values that fall on the same pixel add up: a, b + c for the even
outputs, a + b, c for the odd ones. The upsampled feature map is never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .workspace import Workspace

__all__ = ["POLYPHASE", "UPSAMPLE_25"]

_BAND = 1024  # pixels computed together: their values stay in the cache
_FILTER_MATRIX = ((1, 0, 0), (0.5, 0.5, 0.5), (0, 0, 1), (-0.5, 0.5, 0.5), (-0.5, -0.5, 0.5))
"""From a, b, c to the factors of P, B, D, F, E; F and E share the difference r - q."""


@dataclass(frozen=True)
class _Upsample25:
    """Upsampling and convolution in blocks of 2x2 pixels, which become 4x4 outputs, with 25 matrix products."""

    block: int = 2
    scale: int = 2
    filter_values: int = 25

    def transform_filters(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Transform one (o, i, 3, 3): for each of the 4x4 differences, columns first, its filters, (i, o to 4 o)."""
        (weight,) = weights
        matrix = torch.tensor(_FILTER_MATRIX)
        both = torch.einsum("xk,yl->xykl", matrix, matrix).reshape(25, 9)  # (x y) (k l)
        kernel = weight.permute(3, 2, 1, 0).reshape(9, -1)  # (k l) (i o)
        grid = (both @ kernel).view(5, 5, weight.shape[1], weight.shape[0])  # x y i o
        groups = (slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 5))
        return [grid[x, y].permute(2, 0, 1, 3).flatten(1).contiguous() for x in groups for y in groups]  # i (g o)

    def convolve(
        self, window: Tensor, filters: list[Tensor], bias: Tensor, workspace: Workspace, earlier: int = 0
    ) -> Tensor:
        """Upsample and convolve a window (t, c, 2a + 2, 2b + 2) to (t, o, 4a, 4b), both channels_last."""
        x = window.permute(0, 2, 3, 1)  # t h w c
        frames, a, b = x.shape[0], (x.shape[1] - 2) // 2, (x.shape[2] - 2) // 2
        y = torch.empty(frames, 4 * a, 4 * b, len(bias))
        step = max(1, _BAND // (4 * b * frames))
        for top in range(0, a, step):
            band = x[:, 2 * top : 2 * (top + step) + 2]
            _convolve_band(band, filters, bias, y[:, 4 * top : 4 * (top + step)], workspace)
        return y.permute(0, 3, 1, 2)  # t o 4a 4b


@dataclass(frozen=True)
class _Polyphase:
    """Upsampling and convolution as four 2x2 convolutions, one for each output of a pixel."""

    block: int = 2
    scale: int = 2
    filter_values: int = 16

    def transform_filters(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Transform one (o, i, 3, 3) to the four kernels (o, i, 2, 2) of the outputs of a pixel, rows first."""
        (weight,) = weights
        w = weight.float()
        rows = [torch.cat(phase, 2) for phase in _split_phases(w, 2)]
        kernels = [torch.cat(phase, 3) for row in rows for phase in _split_phases(row, 3)]
        return [kernel.to(weight.dtype, memory_format=torch.channels_last) for kernel in kernels]

    def convolve(
        self, window: Tensor, filters: list[Tensor], bias: Tensor, workspace: Workspace, earlier: int = 0
    ) -> Tensor:
        """Upsample and convolve a window (t, c, h + 2, w + 2) to (t, o, 2h, 2w), both channels_last."""
        frames, _, h, w = window.shape
        shape = (frames, len(bias), 2 * (h - 2), 2 * (w - 2))
        y = torch.empty(shape, dtype=window.dtype, memory_format=torch.channels_last)
        for i, kernel in enumerate(filters):
            row, column = divmod(i, 2)
            part = window[:, :, row : h - 1 + row, column : w - 1 + column]
            y[:, :, row::2, column::2] = F.conv2d(part, kernel, bias)
        return y


def _split_phases(w: Tensor, dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the two kernel values along a side for the even outputs, and for the odd ones."""
    a, b, c = w.split(1, dim)
    return [a, b + c], [a + b, c]


def _convolve_band(x: Tensor, filters: list[Tensor], bias: Tensor, y: Tensor, workspace: Workspace) -> None:
    """Convolve some rows of blocks, (t, 2a + 2, 2b + 2, c), into ``y`` (t, 4a, 4b, o)."""
    frames, a, b, c, o = x.shape[0], y.shape[1] // 4, y.shape[2] // 4, x.shape[3], y.shape[3]
    by_row = workspace.take("rows", 4, frames, a, *x.shape[2:])
    _transform_input([x[:, i : i + 2 * a - 1 : 2] for i in range(4)], by_row)
    domain = workspace.take("domain", 4, 4, frames, a, b, c)
    _transform_input([by_row[:, :, :, j : j + 2 * b - 1 : 2] for j in range(4)], domain)
    products = workspace.take("products", 25, frames * a * b * o)
    grid: list[list[Tensor]] = [[] for _ in range(5)]  # by column, then row
    start = 0
    for i, (values, kernel) in enumerate(zip(domain.flatten(0, 1), filters, strict=True)):
        count = kernel.shape[1] // o
        product = products[start : start + count].view(-1, count * o)  # (t a b) (g o)
        torch.mm(values.reshape(-1, c), kernel, out=product)
        start += count
        found = product.view(frames, a, b, -1, 2 if i % 4 == 3 else 1, o)  # t a b columns rows o
        for column in range(found.shape[3]):
            grid[i // 4 + column] += found[..., column, :, :].unbind(3)
    grid[1][1] += bias
    by_row = workspace.take("rows", 4, 5, frames, a, b, o)
    for row in range(5):
        _transform_output([column[row] for column in grid], [by_row[k, row] for k in range(4)])
    blocks = y.unflatten(2, (b, 4)).unflatten(1, (a, 4))  # t a 4 b 4 o
    # 5 t a b o -> 4 t a b o
    _transform_output(list(by_row.unbind(1)), [blocks[:, :, k].movedim(3, 0) for k in range(4)])


def _transform_input(d: list[Tensor], out: Tensor) -> None:
    """Write p - r, q + r, s - q, r - q of four neighbours p, q, r, s."""
    p, q, r, s = d
    torch.sub(p, r, out=out[0])
    torch.add(q, r, out=out[1])
    torch.sub(s, q, out=out[2])
    torch.sub(r, q, out=out[3])


def _transform_output(m: list[Tensor], out: list[Tensor]) -> None:
    """Write four outputs from the five products P, B, D, F, E; P and D are overwritten."""
    p, b, d, f, e = m
    torch.add(p.sub_(f), b, out=out[0])
    torch.add(b, e, out=out[1])
    torch.add(b, f, out=out[2])
    torch.add(d.sub_(e), b, out=out[3])


UPSAMPLE_25 = _Upsample25()
"""25 products for 16 outputs, float32."""

POLYPHASE = _Polyphase()
"""Four 2x2 convolutions, bfloat16."""
