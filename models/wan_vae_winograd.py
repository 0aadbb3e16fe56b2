"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3), on a CPU in fp32.

Each 4x4 block of outputs comes from a 6x6 block of inputs; both sides are transformed so that 36 products for each pair
of channels do the work of 144. The products are 36 ordinary matrix products. The transforms cost memory passes, so it
pays from about 96 channels on; the error is about 2.5 times that of a direct convolution (1.5e-6 rms at unit scale).

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.1.3; the
matrices follow from interpolation at 0, 1, -1, 2, -2 and infinity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["BLOCK", "Scratch", "affordable", "pays", "scratch_bytes", "transform_kernel", "wide", "winograd"]

BLOCK = 4  # outputs of a block, along each side
_BAND = 4096  # outputs done together: their 36 points stay in the cache; measured, flat from 2048 to 8192
_LEAST_CHANNELS = 96
_KERNEL_SHARE = 4  # how many times as large as the layer's input the transformed kernels may be
_CORNER = 1 * 6 + 1  # the product at the points (1, 1): it enters all 16 outputs with the factor 1
_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def pays(weight: Tensor, pixels: int, slices: int = 1) -> bool:
    """Whether a convolution with this kernel (o, i, 3, 3) is worth this form.

    Args:
        pixels: of the whole picture or clip. With few of them the transformed kernels take more memory than the
            activations, and the time to make them is not won back.
        slices: how many such kernels act, one for each frame that is looked at.
    """
    return weight.dtype == torch.float32 and wide(weight) and affordable(slices * 36 * weight.shape[0], pixels)


def wide(weight: Tensor) -> bool:
    """Whether a kernel (o, i, 3, 3) is on a CPU and has channels enough to win back what transforms cost."""
    return weight.device.type == "cpu" and min(weight.shape[:2]) >= _LEAST_CHANNELS


def affordable(values: int, pixels: int) -> bool:
    """Whether transformed kernels of so many values for each input channel suit a picture of so many pixels."""
    return values <= _KERNEL_SHARE * pixels


def transform_kernel(weight: Tensor) -> Tensor:
    """(o, i, 3, 3) -> (36, i, o); the first index counts columns, then rows, of the 6x6 points."""
    g = torch.tensor(_G, dtype=torch.float64)
    both = torch.einsum("xk,yl->yxkl", g, g).reshape(36, 9).to(weight.dtype)
    taps = weight.permute(2, 3, 1, 0).reshape(9, -1)
    return (both @ taps).view(36, weight.shape[1], weight.shape[0])


class Scratch:
    """Buffers that are used again and again: fresh memory would cost more than the arithmetic done in it.

    Args:
        fast: whether there is memory for these buffers and for transformed kernels at all.
    """

    def __init__(self, fast: bool = True) -> None:
        self.fast = fast
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A float32 tensor of this shape with anything in it; it lasts until the name is taken again."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name] = torch.empty(size)
        return buffer[:size].view(shape)


def scratch_bytes(widest: int) -> int:
    """Roughly what the buffers of a network need whose widest layer has this many channels."""
    return 7 * 4 * _BAND * widest


def winograd(window: Tensor, kernels: list[Tensor], bias: Tensor, scratch: Scratch) -> Tensor:
    """Convolve a window that has its zeros on all sides already.

    Shapes: window (t, c, 4a + 2, 4b + 2), channels_last; kernels (36, c, o): that of the frame itself, then (for a
    causal one) those of the frame before and the frame before that -> (t, o, 4a, 4b), channels_last.
    """
    x = window.permute(0, 2, 3, 1)  # t H W c
    frames, a, b = x.shape[0], (x.shape[1] - 2) // BLOCK, (x.shape[2] - 2) // BLOCK
    y = torch.empty(frames, a * BLOCK, b * BLOCK, kernels[0].shape[2])
    step = BLOCK * max(1, _BAND // (BLOCK * BLOCK * b * frames))
    for top in range(0, a * BLOCK, step):
        _convolve_band(x[:, top : top + step + 2], kernels, bias, y[:, top : top + step], scratch)
    return y.permute(0, 3, 1, 2)


def _convolve_band(x: Tensor, kernels: list[Tensor], bias: Tensor, y: Tensor, scratch: Scratch) -> None:
    """Some rows of blocks: (t, 4a + 2, 4b + 2, c) -> ``y`` (t, 4a, 4b, o)."""
    frames, a, b = x.shape[0], y.shape[1] // BLOCK, y.shape[2] // BLOCK
    by_row = scratch.take("rows", 6, frames, a, *x.shape[2:])
    _to_points([x[:, i : i + BLOCK * a - 3 : BLOCK] for i in range(6)], by_row, scratch)
    points = scratch.take("points", 6, 6, frames, a, b, x.shape[3])
    _to_points([by_row[:, :, :, j : j + BLOCK * b - 3 : BLOCK] for j in range(6)], points, scratch)
    products = _multiply(points.view(36, frames * a * b, -1), kernels, frames, scratch)
    products[_CORNER] += bias
    products = products.view(6, 6, frames, a, b, -1)
    by_row = scratch.take("rows", BLOCK, *products.shape[1:])
    _from_points(list(products), list(by_row), scratch)
    blocks = y.unflatten(2, (b, BLOCK)).unflatten(1, (a, BLOCK))  # t a 4 b 4 o
    _from_points(list(by_row.unbind(1)), [blocks[:, :, i].movedim(3, 0) for i in range(BLOCK)], scratch)


def _multiply(points: Tensor, kernels: list[Tensor], frames: int, scratch: Scratch) -> Tensor:
    """The 36 matrix products (36, t n, c) x (36, c, o); the kernels of earlier frames act on those further on."""
    products = scratch.take("products", 36, points.shape[1], kernels[0].shape[2])
    torch.bmm(points, kernels[0], out=products)
    for ago, kernel in enumerate(kernels[1:frames], 1):
        shift = ago * points.shape[1] // frames
        products[:, shift:].baddbmm_(points[:, :-shift], kernel)
    return products


def _to_points(d: list[Tensor], out: Tensor, scratch: Scratch) -> None:
    """Six neighbours -> their values at the six points."""
    even, odd = scratch.take("even", *d[0].shape), scratch.take("odd", *d[0].shape)
    torch.sub(d[4], d[2], alpha=4, out=even)
    torch.sub(d[3], d[1], alpha=4, out=odd)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    torch.add(even, torch.sub(d[0], d[2], out=out[0]), alpha=4, out=out[0])
    torch.sub(torch.sub(d[5], d[3], out=out[5]), odd, alpha=4, out=out[5])


def _from_points(m: list[Tensor], out: list[Tensor], scratch: Scratch) -> None:
    """Products at the six points -> four outputs; the products are lost."""
    sum1 = torch.add(m[1], m[2], out=scratch.take("even", *m[1].shape))
    diff1 = torch.sub(m[1], m[2], out=m[2])
    sum2 = torch.add(m[3], m[4], out=m[1])
    diff2 = torch.sub(m[3], m[4], out=m[4])
    torch.add(torch.add(m[0], sum1, out=m[0]), sum2, out=out[0])
    torch.add(diff1, diff2, alpha=2, out=out[1])
    torch.add(sum1, sum2, alpha=4, out=out[2])
    torch.add(torch.add(m[5], diff1, out=m[5]), diff2, alpha=8, out=out[3])
