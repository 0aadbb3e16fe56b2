"""3x3 convolutions with fewer multiplications on a CPU: Winograd's minimal filtering.

A block of outputs comes from a block of inputs that is two wider; both sides are transformed so that one product for
each point of the block does the work of several. The transforms cost memory passes, so it pays from about 96 channels
on.

- float32: F(4x4, 3x3), 36 products for 144. The error is about 2.5 times that of a direct convolution (1.5e-6 rms at
  unit scale).
- bfloat16, many channels: F(2x2, 3x3), 16 products for 36. Larger blocks would cost too many digits.
- bfloat16, fewer channels: F(2, 3) along the rows alone, 12 products for 18: four 3x1 convolutions and few passes.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, sections 4.1.1 to 4.1.3;
the matrices follow from interpolation at 0, 1, -1, (2, -2) and infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["COLUMNS", "F2", "F4", "Form", "Scratch", "affordable", "form_for", "scratch_bytes", "wide"]

_BAND = 4096  # outputs done together: their points stay in the cache; measured, flat from 2048 to 8192
_LEAST_CHANNELS = 96
_MANY_CHANNELS = 192 * 384  # input times output channels from which products pay for transforms along both sides
_KERNEL_SHARE = 4  # how many times as large as the layer's input the transformed kernels may be


class Scratch:
    """Buffers that are used again and again: fresh memory would cost more than the arithmetic done in it.

    Args:
        fast: whether there is memory for these buffers and for transformed kernels at all.
    """

    def __init__(self, fast: bool = True) -> None:
        self.fast = fast
        self._buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor of this shape with anything in it; it lasts until the name is taken again."""
        size = math.prod(shape)
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name, dtype] = torch.empty(size, dtype=dtype)
        return buffer[:size].view(shape)


class Form(Protocol):
    """A way to convolve 3x3 in blocks of outputs."""

    @property
    def block(self) -> int:
        """Outputs of a block along each side."""
        ...

    @property
    def values(self) -> int:
        """Of the transformed kernel, for each pair of channels, where the kernel has nine."""
        ...

    def transform_kernel(self, weight: Tensor) -> Tensor:
        """What :meth:`convolve` takes for a kernel (o, i, 3, 3), in the same precision, rounded once."""
        ...

    def convolve(self, window: Tensor, kernels: list[Tensor], bias: Tensor, scratch: Scratch) -> Tensor:
        """Convolve a window that has its zeros on all sides already.

        Shapes: window (t, c, m a + 2, m b + 2), channels_last, with m the block -> (t, o, m a, m b), channels_last.

        Args:
            kernels: that of the frame itself, then (for a causal convolution) those of the frame before and the frame
                before that, all transformed.
        """
        ...


def form_for(weight: Tensor, pixels: int, slices: int = 1) -> Form | None:
    """The form that is worth while for a convolution with this kernel (o, i, 3, 3), if any is.

    Args:
        pixels: of the whole picture or clip. With few of them the transformed kernels take more memory than the
            activations, and the time to make them is not won back.
        slices: how many such kernels act, one for each frame that is looked at.
    """
    if not wide(weight):
        return None
    form: Form
    if weight.dtype == torch.float32:
        form = F4
    elif weight.dtype == torch.bfloat16 and _plain_bfloat16():
        form = F2 if weight.shape[0] * weight.shape[1] >= _MANY_CHANNELS else COLUMNS
    else:
        return None
    return form if affordable(slices * form.values * weight.shape[0], pixels) else None


@cache
def _plain_bfloat16() -> bool:
    """Whether this CPU is known to multiply bfloat16 in its vector unit; AMX does direct convolutions faster."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # an older torch does not tell
    has = {} if ask is None else ask()
    return bool(has.get("avx512_bf16")) and not has.get("amx_bf16")


def wide(weight: Tensor) -> bool:
    """Whether a kernel (o, i, 3, 3) is on a CPU and has channels enough to win back what transforms cost."""
    return weight.device.type == "cpu" and min(weight.shape[:2]) >= _LEAST_CHANNELS


def affordable(values: int, pixels: int) -> bool:
    """Whether transformed kernels of so many values for each input channel suit a picture of so many pixels."""
    return values <= _KERNEL_SHARE * pixels


def scratch_bytes(widest: int) -> int:
    """Roughly what the buffers of a network need whose widest layer has this many channels."""
    return 7 * 4 * _BAND * widest


@dataclass(frozen=True)
class _Squares:
    """Minimal filtering along both sides; the products are matrix products, in bands that stay in the cache.

    Args:
        block: outputs along a side, m.
        taps: (m + 2, 3), a side's three taps to its points.
        to_points: m + 2 neighbours to their values at the points, written to the entries of the second argument.
        from_points: products at the points to m outputs; the products are lost.
    """

    block: int
    taps: tuple[tuple[float, float, float], ...]
    to_points: Callable[[list[Tensor], Tensor, Scratch], None]
    from_points: Callable[[list[Tensor], list[Tensor], Scratch], None]

    @property
    def side(self) -> int:
        """Points along a side."""
        return self.block + 2

    @property
    def values(self) -> int:
        return self.side**2

    def transform_kernel(self, weight: Tensor) -> Tensor:
        """(o, i, 3, 3) -> (points, i, o); the first index counts columns, then rows, of the points."""
        g = torch.tensor(self.taps, dtype=torch.float64)
        both = torch.einsum("xk,yl->yxkl", g, g).reshape(-1, 9).float()
        taps = weight.permute(2, 3, 1, 0).reshape(9, -1).float()
        return (both @ taps).view(-1, weight.shape[1], weight.shape[0]).to(weight.dtype)

    def convolve(self, window: Tensor, kernels: list[Tensor], bias: Tensor, scratch: Scratch) -> Tensor:
        x, m = window.permute(0, 2, 3, 1), self.block  # t H W c
        frames, a, b = x.shape[0], (x.shape[1] - 2) // m, (x.shape[2] - 2) // m
        y = torch.empty(frames, a * m, b * m, kernels[0].shape[2], dtype=x.dtype)
        step = m * max(1, _BAND // (m * m * b * frames))
        for top in range(0, a * m, step):
            self._convolve_band(x[:, top : top + step + 2], kernels, bias, y[:, top : top + step], scratch)
        return y.permute(0, 3, 1, 2)

    def _convolve_band(self, x: Tensor, kernels: list[Tensor], bias: Tensor, y: Tensor, scratch: Scratch) -> None:
        """Some rows of blocks: (t, m a + 2, m b + 2, c) -> ``y`` (t, m a, m b, o)."""
        m, n = self.block, self.side
        frames, a, b = x.shape[0], y.shape[1] // m, y.shape[2] // m
        by_row = scratch.take("rows", n, frames, a, *x.shape[2:], dtype=x.dtype)
        self.to_points([x[:, i : i + m * a - m + 1 : m] for i in range(n)], by_row, scratch)
        points = scratch.take("points", n, n, frames, a, b, x.shape[3], dtype=x.dtype)
        self.to_points([by_row[:, :, :, j : j + m * b - m + 1 : m] for j in range(n)], points, scratch)
        products = _multiply(points.view(n * n, frames * a * b, -1), kernels, frames, scratch)
        products[n + 1] += bias  # the product at the points (1, 1) enters all outputs with the factor 1
        products = products.view(n, n, frames, a, b, -1)
        by_row = scratch.take("rows", m, *products.shape[1:], dtype=x.dtype)
        self.from_points(list(products), list(by_row), scratch)
        blocks = y.unflatten(2, (b, m)).unflatten(1, (a, m))  # t a m b m o
        self.from_points(list(by_row.unbind(1)), [blocks[:, :, i].movedim(3, 0) for i in range(m)], scratch)


def _multiply(points: Tensor, kernels: list[Tensor], frames: int, scratch: Scratch) -> Tensor:
    """The products (points, t n, c) x (points, c, o); the kernels of earlier frames act on those further on."""
    products = scratch.take("products", *points.shape[:2], kernels[0].shape[2], dtype=points.dtype)
    torch.bmm(points, kernels[0], out=products)
    for ago, kernel in enumerate(kernels[1:frames], 1):
        shift = ago * points.shape[1] // frames
        products[:, shift:].baddbmm_(points[:, :-shift], kernel)
    return products


@dataclass(frozen=True)
class _Columns:
    """F(2, 3) along the rows: pairs of columns, whose products are convolutions of three rows and one column."""

    block: int = 2
    values: int = 12

    def transform_kernel(self, weight: Tensor) -> Tensor:
        """(o, i, 3, 3) -> (4, o, i, 3, 1), each channels_last."""
        taps = torch.einsum("xl,oikl->xoki", torch.tensor(_FOUR), weight.float()).unsqueeze(3)
        return taps.to(weight.dtype).movedim(-1, 2)

    def convolve(self, window: Tensor, kernels: list[Tensor], bias: Tensor, scratch: Scratch) -> Tensor:
        x = window.permute(0, 2, 3, 1)  # t H W c
        frames, height, b, c = x.shape[0], x.shape[1], (x.shape[2] - 2) // 2, x.shape[3]
        points = scratch.take("points", 4, frames, height, b, c, dtype=x.dtype)
        _to_four([x[:, :, j : j + 2 * b - 1 : 2] for j in range(4)], points, scratch)
        products: list[Tensor] = []
        for i, point in enumerate(points.permute(0, 1, 4, 2, 3)):
            product = F.conv2d(point, kernels[0][i], bias if i == 1 else None)  # 1 enters both outputs as it is
            for ago, kernel in enumerate(kernels[1:frames], 1):
                product[ago:] += F.conv2d(point[:-ago], kernel[i])
            products.append(product.permute(0, 2, 3, 1))
        y = torch.empty(frames, height - 2, b, 2, len(bias), dtype=x.dtype)
        _from_four(products, list(y.unbind(3)), scratch)
        return y.flatten(2, 3).permute(0, 3, 1, 2)


def _to_six(d: list[Tensor], out: Tensor, scratch: Scratch) -> None:
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


def _from_six(m: list[Tensor], out: list[Tensor], scratch: Scratch) -> None:
    """Products at the six points -> four outputs; the products are lost."""
    sum1 = torch.add(m[1], m[2], out=scratch.take("even", *m[1].shape))
    diff1 = torch.sub(m[1], m[2], out=m[2])
    sum2 = torch.add(m[3], m[4], out=m[1])
    diff2 = torch.sub(m[3], m[4], out=m[4])
    torch.add(torch.add(m[0], sum1, out=m[0]), sum2, out=out[0])
    torch.add(diff1, diff2, alpha=2, out=out[1])
    torch.add(sum1, sum2, alpha=4, out=out[2])
    torch.add(torch.add(m[5], diff1, out=m[5]), diff2, alpha=8, out=out[3])


def _to_four(d: list[Tensor], out: Tensor, scratch: Scratch) -> None:
    """Four neighbours -> their values at the four points."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _from_four(m: list[Tensor], out: list[Tensor], scratch: Scratch) -> None:
    """Products at the four points -> two outputs; the products are lost."""
    torch.add(m[0].add_(m[1]), m[2], out=out[0])
    torch.sub(m[1].sub_(m[2]), m[3], out=out[1])


_FOUR = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_SIX = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
F4: Form = _Squares(4, _SIX, _to_six, _from_six)
F2: Form = _Squares(2, _FOUR, _to_four, _from_four)
COLUMNS: Form = _Columns()
