"""Winograd convolutions on a CPU: 3x3 with fewer multiplications.

A block of m outputs comes from a block of m + 2 inputs. Input and filter are transformed (B^T d B and G g G^T) and
multiplied value by value in the Winograd domain, and the products are transformed back (A^T m A). The transforms cost
passes over memory, so it pays from about 96 channels on.

- float32: F(4x4, 3x3), 36 products for 144. The error is about 2.5 times that of a direct convolution (1.5e-6 rms at
  unit scale).
- bfloat16, many channels: F(2x2, 3x3), 16 products for 36. Larger blocks would cost too many digits.
- bfloat16, fewer channels: F(2, 3) along the rows alone, 12 products for 18: four 3x1 convolutions and few passes.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, sections 4.1.1 to 4.1.3;
the matrices follow from interpolation at 0, 1, -1, (2, -2) and infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .workspace import Workspace

__all__ = ["F2X2", "F2_ROWS", "F4X4", "estimate_buffers"]

_BAND = 4096  # outputs computed together: their values stay in the cache; measured, flat from 2048 to 8192


def estimate_buffers(channels: int) -> int:
    """Return about how many bytes of workspace a network needs whose widest layer has this many channels."""
    return 7 * 4 * _BAND * channels


@dataclass(frozen=True)
class _Winograd2d:
    """Winograd along both sides, F(m x m, 3x3); the products are matrix products, in bands that stay in the cache.

    Args:
        block: Outputs along a side, m.
        filter_matrix: G, (m + 2, 3).
        transform_input: B^T along one side: m + 2 neighbours to m + 2 values, written to the second argument.
        transform_output: A^T along one side: m + 2 products to m outputs; the products are overwritten.
    """

    block: int
    filter_matrix: tuple[tuple[float, float, float], ...]
    transform_input: Callable[[list[Tensor], Tensor, Workspace], None]
    transform_output: Callable[[list[Tensor], list[Tensor], Workspace], None]
    scale: int = 1

    @property
    def side(self) -> int:
        """Values along a side of a block in the Winograd domain."""
        return self.block + 2

    @property
    def filter_values(self) -> int:
        """Values of a transformed filter for each pair of channels."""
        return self.side**2

    def transform_filters(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Transform each (o, i, 3, 3) to (values, i, o); the first index counts columns, then rows, of a block."""
        return [self._transform_filter(weight) for weight in weights]

    def _transform_filter(self, weight: Tensor) -> Tensor:
        g = torch.tensor(self.filter_matrix, dtype=torch.float64)
        both = torch.einsum("xk,yl->yxkl", g, g).reshape(-1, 9).float()  # (y x) (k l)
        kernel = weight.permute(2, 3, 1, 0).reshape(9, -1).float()  # (k l) (i o)
        return (both @ kernel).view(-1, weight.shape[1], weight.shape[0]).to(weight.dtype)  # (y x) i o

    def convolve(
        self, window: Tensor, filters: list[Tensor], bias: Tensor, workspace: Workspace, earlier: int = 0
    ) -> Tensor:
        """Convolve a window (earlier + t, c, m a + 2, m b + 2) to (t, o, m a, m b), both channels_last."""
        x, m = window.permute(0, 2, 3, 1), self.block  # t H W c
        frames, a, b = x.shape[0], (x.shape[1] - 2) // m, (x.shape[2] - 2) // m
        y = torch.empty(frames - earlier, a * m, b * m, filters[0].shape[2], dtype=x.dtype)
        step = m * max(1, _BAND // (m * m * b * frames))
        for top in range(0, a * m, step):
            self._convolve_band(x[:, top : top + step + 2], filters, bias, y[:, top : top + step], workspace)
        return y.permute(0, 3, 1, 2)  # t o H W

    def _convolve_band(self, x: Tensor, filters: list[Tensor], bias: Tensor, y: Tensor, workspace: Workspace) -> None:
        """Convolve some rows of blocks, (t, m a + 2, m b + 2, c), into ``y`` (t, m a, m b, o)."""
        m, n = self.block, self.side
        frames, a, b = x.shape[0], y.shape[1] // m, y.shape[2] // m
        earlier = frames - y.shape[0]
        by_row = workspace.take("rows", n, frames, a, *x.shape[2:], dtype=x.dtype)
        self.transform_input([x[:, i : i + m * a - m + 1 : m] for i in range(n)], by_row, workspace)
        domain = workspace.take("domain", n, n, frames, a, b, x.shape[3], dtype=x.dtype)
        self.transform_input([by_row[:, :, :, j : j + m * b - m + 1 : m] for j in range(n)], domain, workspace)
        products = _multiply(domain.view(n * n, frames, a * b, -1), filters, earlier, workspace)
        products[n + 1] += bias  # the product at the points (1, 1) enters all outputs with the factor 1
        products = products.view(n, n, frames - earlier, a, b, -1)
        by_row = workspace.take("rows", m, *products.shape[1:], dtype=x.dtype)
        self.transform_output(list(products), list(by_row), workspace)
        blocks = y.unflatten(2, (b, m)).unflatten(1, (a, m))  # t a m b m o
        self.transform_output(list(by_row.unbind(1)), [blocks[:, :, i].movedim(3, 0) for i in range(m)], workspace)


def _multiply(domain: Tensor, filters: list[Tensor], earlier: int, workspace: Workspace) -> Tensor:
    """Multiply (values, frames, n, c) by (values, c, o); filters of earlier frames act on the later ones.

    Returns:
        (values, (frames - earlier) n, o): of all frames but the ``earlier`` ones.
    """
    frames, n = domain.shape[1:3]
    products = workspace.take("products", len(domain), (frames - earlier) * n, filters[0].shape[2], dtype=domain.dtype)
    torch.bmm(domain[:, earlier:].flatten(1, 2), filters[0], out=products)
    for ago, transformed in enumerate(filters[1:frames], 1):
        first = max(0, ago - earlier)
        products[:, first * n :].baddbmm_(domain[:, earlier + first - ago : -ago].flatten(1, 2), transformed)
    return products


@dataclass(frozen=True)
class _WinogradRows:
    """F(2, 3) along the rows: pairs of columns, whose products are convolutions of three rows and one column."""

    block: int = 2
    scale: int = 1
    filter_values: int = 12

    def transform_filters(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Transform each (o, i, 3, 3) to (4, o, i, 3, 1), each of the four channels_last."""
        return [self._transform_filter(weight) for weight in weights]

    def _transform_filter(self, weight: Tensor) -> Tensor:
        values = torch.einsum("xl,oikl->xoki", torch.tensor(_G2), weight.float()).unsqueeze(3)
        return values.to(weight.dtype).movedim(-1, 2)  # 4 o k 1 i -> 4 o i k 1

    def convolve(
        self, window: Tensor, filters: list[Tensor], bias: Tensor, workspace: Workspace, earlier: int = 0
    ) -> Tensor:
        """Convolve a window (earlier + t, c, h + 2, 2 b + 2) to (t, o, h, 2 b), both channels_last."""
        x = window.permute(0, 2, 3, 1)  # t H W c
        frames, height, b, c = x.shape[0], x.shape[1], (x.shape[2] - 2) // 2, x.shape[3]
        domain = workspace.take("domain", 4, frames, height, b, c, dtype=x.dtype)
        _transform_input_2([x[:, :, j : j + 2 * b - 1 : 2] for j in range(4)], domain, workspace)
        products: list[Tensor] = []
        for i, values in enumerate(domain.permute(0, 1, 4, 2, 3)):  # t c H b
            product = F.conv2d(
                values[earlier:], filters[0][i], bias if i == 1 else None
            )  # 1 enters both outputs as it is
            for ago, transformed in enumerate(filters[1:frames], 1):
                first = max(0, ago - earlier)
                product[first:] += F.conv2d(values[earlier + first - ago : -ago], transformed[i])
            products.append(product.permute(0, 2, 3, 1))  # t h b o
        y = torch.empty(frames - earlier, height - 2, b, 2, len(bias), dtype=x.dtype)
        _transform_output_2(products, list(y.unbind(3)), workspace)
        return y.flatten(2, 3).permute(0, 3, 1, 2)  # t h b 2 o -> t o h 2b


def _transform_input_4(d: list[Tensor], out: Tensor, workspace: Workspace) -> None:
    """B^T of F(4, 3): six neighbours to six values."""
    even, odd = workspace.take("even", *d[0].shape), workspace.take("odd", *d[0].shape)
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


def _transform_output_4(m: list[Tensor], out: list[Tensor], workspace: Workspace) -> None:
    """A^T of F(4, 3): six products to four outputs; the products are overwritten."""
    sum1 = torch.add(m[1], m[2], out=workspace.take("even", *m[1].shape))
    diff1 = torch.sub(m[1], m[2], out=m[2])
    sum2 = torch.add(m[3], m[4], out=m[1])
    diff2 = torch.sub(m[3], m[4], out=m[4])
    torch.add(torch.add(m[0], sum1, out=m[0]), sum2, out=out[0])
    torch.add(diff1, diff2, alpha=2, out=out[1])
    torch.add(sum1, sum2, alpha=4, out=out[2])
    torch.add(torch.add(m[5], diff1, out=m[5]), diff2, alpha=8, out=out[3])


def _transform_input_2(d: list[Tensor], out: Tensor, workspace: Workspace) -> None:
    """B^T of F(2, 3): four neighbours to four values."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _transform_output_2(m: list[Tensor], out: list[Tensor], workspace: Workspace) -> None:
    """A^T of F(2, 3): four products to two outputs; the products are overwritten."""
    torch.add(m[0].add_(m[1]), m[2], out=out[0])
    torch.sub(m[1].sub_(m[2]), m[3], out=out[1])


_G2 = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_G4 = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
F4X4 = _Winograd2d(4, _G4, _transform_input_4, _transform_output_4)
"""F(4x4, 3x3)."""

F2X2 = _Winograd2d(2, _G2, _transform_input_2, _transform_output_2)
"""F(2x2, 3x3)."""

F2_ROWS = _WinogradRows()
"""F(2, 3) along the rows."""
