"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3), on a CPU in fp32.

Each 4x4 block of outputs comes from a 6x6 block of inputs; both sides are transformed so that 36 products for each pair
of channels do the work of 144. The products are 36 ordinary matrix products. The transforms cost memory passes, so it
pays from about 96 channels on; the error is about 2.5 times that of a direct convolution (1.5e-6 rms at unit scale).

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.1.3; the
matrices follow from interpolation at 0, 1, -1, 2, -2 and infinity.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BLOCK", "pays", "transform_kernel", "winograd"]

BLOCK = 4  # outputs of a block, along each side
_LEAST_CHANNELS = 96
_CORNER = 1 * 6 + 1  # the product at the points (1, 1): it enters all 16 outputs with the factor 1
_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def pays(weight: Tensor) -> bool:
    """Whether a convolution with this kernel (o, i, 3, 3) is faster in this form."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and min(weight.shape[:2]) >= _LEAST_CHANNELS


def transform_kernel(weight: Tensor) -> Tensor:
    """(o, i, 3, 3) -> (36, i, o); the first index counts columns, then rows, of the 6x6 points."""
    g = torch.tensor(_G, dtype=torch.float64)
    both = torch.einsum("xk,yl->yxkl", g, g).reshape(36, 9).to(weight.dtype)
    taps = weight.permute(2, 3, 1, 0).reshape(9, -1)
    return (both @ taps).view(36, weight.shape[1], weight.shape[0])


def winograd(window: Tensor, kernels: list[Tensor], bias: Tensor) -> Tensor:
    """Convolve a window that has its zeros on all sides already.

    Shapes: window (t, c, 4a + 2, 4b + 2), channels_last; kernels (36, c, o): that of the frame itself, then (for a
    causal one) those of the frame before and the frame before that -> (t, o, 4a, 4b), channels_last.
    """
    x = window.permute(0, 2, 3, 1)  # t H W c
    frames, a, b = x.shape[0], (x.shape[1] - 2) // BLOCK, (x.shape[2] - 2) // BLOCK
    by_row = _to_points([x[:, i : i + BLOCK * a - 3 : BLOCK] for i in range(6)])
    points = _to_points([by_row[:, :, :, j : j + BLOCK * b - 3 : BLOCK] for j in range(6)]).view(36, frames * a * b, -1)
    products = torch.bmm(points, kernels[0])
    for ago, kernel in enumerate(kernels[1:frames], 1):
        shift = ago * a * b
        products[:, shift:].baddbmm_(points[:, :-shift], kernel)
    products[_CORNER] += bias
    products = products.view(6, 6, frames, a, b, -1)
    by_row = torch.empty(BLOCK, *products.shape[1:])
    _from_points(list(products), list(by_row))
    y = torch.empty(frames, a * BLOCK, b * BLOCK, products.shape[-1])
    blocks = y.unflatten(2, (b, BLOCK)).unflatten(1, (a, BLOCK))  # t a 4 b 4 o
    _from_points(list(by_row.unbind(1)), [blocks[:, :, i].movedim(3, 0) for i in range(BLOCK)])
    return y.permute(0, 3, 1, 2)


def _to_points(d: list[Tensor]) -> Tensor:
    """Six neighbours -> their values at the six points, stacked in front."""
    out = torch.empty(6, *d[0].shape)
    even, odd = torch.sub(d[4], d[2], alpha=4), torch.sub(d[3], d[1], alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    torch.add(even, torch.sub(d[0], d[2], out=out[0]), alpha=4, out=out[0])
    torch.sub(torch.sub(d[5], d[3], out=out[5]), odd, alpha=4, out=out[5])
    return out


def _from_points(m: list[Tensor], out: list[Tensor]) -> None:
    """Products at the six points -> four outputs."""
    sum1, diff1 = m[1] + m[2], m[1] - m[2]
    sum2, diff2 = m[3] + m[4], m[3] - m[4]
    torch.add(m[0], sum1, out=out[0]).add_(sum2)
    torch.add(diff1, diff2, alpha=2, out=out[1])
    torch.add(sum1, sum2, alpha=4, out=out[2])
    torch.add(diff1, diff2, alpha=8, out=out[3]).add_(m[5])
