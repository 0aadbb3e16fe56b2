"""A picture through the VAE a few rows at a time: the same numbers, no halo computed twice, no seam, little memory.

Outside the middle attention every layer is local: a 3x3 convolution needs one row above and one below. So each layer
keeps the last rows it was given and returns the rows that are complete, as a causal network does along time. Pieces
may be of any height; a piece that is the whole picture is the ordinary untiled run. Small pieces are also the fastest
on a CPU: activations stay in its cache and no page is ever touched for the first time.

A clip goes the same way with its frames as the batch, all of them at each row: a causal 3x3x3 convolution is then the
2-D one plus the two earlier slices of its kernel on the frames before. No frame is cached, padded or copied.

Everything here runs without autograd, on one picture or clip at a time; tensors are (t, c, rows, w), channels_last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cpu.upsample_conv import PAIR, convolve_doubled, doubling_pays, transform_doubling_kernel
from ..cpu.winograd import Form, Scratch, form_for
from ..layers import (
    Attention,
    CausalConv,
    Decoder,
    DownLevel,
    Downsample,
    Encoder,
    Head,
    PixelNorm,
    Residual,
    TimeConv,
    UpLevel,
    Upsample,
)
from .feature_map import Extent, extents
from .inplace import attend, norm_into
from .temporal import double_frames, halve_frames, mix

__all__ = ["decode_rows", "encode_rows"]


def encode_rows(encoder: Encoder, x: Tensor, pixels: int, on_rows: Callable[[int], None], fast: bool = True) -> Tensor:
    """Run an encoder in pieces of about ``pixels`` pixels.

    Args:
        fast: use the forms of :func:`~.wan_vae_extent.extra_bytes`.
        on_rows: called with the rows of ``x`` that are done.

    Shapes: (t, 3 or 12, H, W) -> (t, 2 z, h, w).
    """
    found: list[Tensor] = []
    scratch = Scratch(fast)

    def collect(rows: Tensor, last: bool) -> None:
        found.append(rows)

    sink: Sink = collect
    for level in reversed(_levels(_stages([encoder.conv1, *encoder.downsamples], scratch, Extent.of(x)))):
        sink = _Gather(level, pixels, sink).push
    done = 0
    for piece in x.split(max(1, pixels // (x.shape[0] * x.shape[3])), dim=2):
        done += piece.shape[2]
        sink(piece, done == x.shape[2])
        on_rows(done)
    return whole(encoder.head, _middle(encoder.middle, torch.cat(found, dim=2), pixels, scratch), pixels, scratch)


def decode_rows(decoder: Decoder, x: Tensor, pixels: int, sink: Sink, fast: bool = True) -> None:
    """Run a decoder in pieces of about ``pixels`` pixels; ``sink`` gets the finished rows in order (some may be none).

    Args:
        fast: use the forms of :func:`~.wan_vae_extent.extra_bytes`.

    Shapes: (t, z, h, w) -> pieces of (t, 3 or 12, rows, W).
    """
    scratch = Scratch(fast)
    x = _middle(decoder.middle, whole(decoder.conv1, x, pixels, scratch), pixels, scratch)
    flow(_stages([*decoder.upsamples, decoder.head], scratch, Extent.of(x)), x, True, pixels, sink)


Sink = Callable[[Tensor, bool], None]
"""Takes the next rows, and whether they are the last."""


class RowStage(Protocol):
    """A layer that takes rows in pieces."""

    growth: int
    """Pixels that come out for one that goes in; pieces are smaller where it is more than one."""

    def push(self, x: Tensor, last: bool) -> Tensor:
        """Take the next rows; return those that are complete now (all that are left when ``last``)."""
        ...


def rows_of(layer: nn.Module, scratch: Scratch, extent: Extent) -> RowStage:
    """The row-wise form of a layer, at the top of a picture of this extent."""
    kinds = {
        CausalConv: ConvRows, Head: HeadRows, Residual: ResidualRows, Downsample: DownRows, Upsample: UpRows,
        DownLevel: LevelRows, UpLevel: LevelRows,
    }  # fmt: skip
    return kinds[type(layer)](layer, scratch, extent)


def _stages(layers: Iterable[nn.Module], scratch: Scratch, extent: Extent) -> list[RowStage]:
    """The row-wise forms of layers in a row."""
    return [rows_of(layer, scratch, inside) for layer, inside in extents(layers, extent)]


def whole(layer: nn.Module, x: Tensor, pixels: int, scratch: Scratch) -> Tensor:
    """Run a local layer over a whole picture, in pieces of about ``pixels`` pixels."""
    found: list[Tensor] = []

    def collect(rows: Tensor, last: bool) -> None:
        if rows.shape[2]:
            found.append(rows)

    flow([rows_of(layer, scratch, Extent.of(x))], x, True, pixels, collect)
    return torch.cat(found, dim=2).contiguous(memory_format=torch.channels_last)


def flow(stages: list[RowStage], x: Tensor, last: bool, pixels: int, sink: Sink) -> None:
    """Push rows through all stages, in pieces of about ``pixels`` pixels at each, and the result to ``sink``."""
    if not stages:
        sink(x, last)
        return
    stage, rest = stages[0], stages[1:]
    rows = pixels // (x.shape[0] * x.shape[3] * stage.growth)
    pieces = x.split(max(1, rows), dim=2)
    for i, piece in enumerate(pieces):
        final = last and i == len(pieces) - 1
        y = stage.push(piece, final)
        if final or y.shape[2]:
            flow(rest, y, final, pixels, sink)


class _Rows3:
    """The bookkeeping of a 3x3 convolution over rows that arrive in pieces.

    Where the convolution runs in blocks (see :mod:`.wan_vae_winograd`) it returns rows in whole blocks, counted from
    the top of the picture, so that the blocks, and thereby the numbers, do not depend on the pieces.
    """

    growth = 1
    scale = 1  # rows and columns that come out for one that goes into the window

    def __init__(self, conv: nn.Conv2d, scratch: Scratch, extent: Extent) -> None:
        self.conv, self.scratch, self.extent = conv, scratch, extent
        self.kept: Tensor | None = None  # input rows still needed; at first the row of zeros above the picture
        self.form = self._form()
        self.block = self._block()
        self.side = 1 if self.block > 1 else 0  # columns of zeros in the window; else the convolution adds them
        self.kernels: list[Tensor] | None = None

    def _form(self) -> Form | None:
        slices = self.extent.slices if isinstance(self.conv, CausalConv) else 1
        return form_for(self.conv.weight, self.extent.pixels, slices) if self.scratch.fast else None

    def _block(self) -> int:
        return 1 if self.form is None else self.form.block

    def convolve(self, x: Tensor, rows: int, width: int, last: bool, write: Callable[[Tensor, Tensor], None]) -> Tensor:
        """Let ``write(x, place)`` fill in ``rows`` new rows; return what is complete.

        Shapes: (t, c, ...) -> (t, out, about rows, width), each side times ``scale``.
        """
        k = 1 if self.kept is None else self.kept.shape[2]
        ready = k + rows - 2 + last
        done = ready if last else ready // self.block * self.block
        fill = -done % self.block if last else 0
        wide = width + -width % self.block + 2 * self.side
        window = _empty(x, x.shape[1], k + rows + last + fill, wide)
        window[:, :, :k] = 0 if self.kept is None else self.kept
        window[:, :, k + rows :] = 0
        if self.side:
            window[..., :1] = 0
            window[..., width + 1 :] = 0
        write(x, window[:, :, k : k + rows, self.side : self.side + width])
        self.kept = window[:, :, max(0, done) : k + rows].clone()
        if done <= 0:
            return _empty(x, self.conv.out_channels, 0, width * self.scale)
        y = self._run(window[:, :, : done + fill + 2])
        if last:
            self.kernels = None
        done, width = done * self.scale, width * self.scale
        cut = y.shape[2:] != (done, width)
        return y[:, :, :done, :width].contiguous(memory_format=torch.channels_last) if cut else y

    def _run(self, window: Tensor) -> Tensor:
        past = self.conv.past if window.shape[0] > 1 and isinstance(self.conv, CausalConv) else None
        if self.form is not None:
            if self.kernels is None:
                weights = [self.conv.weight, *([] if past is None else [past[1], past[0]])]
                self.kernels = [self.form.transform_kernel(weight) for weight in weights]
            return self.form.convolve(window, self.kernels, cast("Tensor", self.conv.bias), self.scratch)
        y = F.conv2d(window, self.conv.weight, self.conv.bias, padding=(0, 1))
        if past is not None:
            for ago in range(1, min(3, window.shape[0])):
                y[ago:] += F.conv2d(window[:-ago], past[2 - ago], padding=(0, 1))
        return y


class ConvRows(_Rows3):
    """A 3x3 convolution with zeros around the picture, after an optional norm and SiLU."""

    def __init__(self, conv: nn.Conv2d, scratch: Scratch, extent: Extent, norm: PixelNorm | None = None) -> None:
        super().__init__(conv, scratch, extent)
        self.norm = norm

    def push(self, x: Tensor, last: bool) -> Tensor:
        """(t, c, n, w) -> (t, out, about n, w)."""
        return self.convolve(x, x.shape[2], x.shape[3], last, self._write)

    def _write(self, x: Tensor, place: Tensor) -> None:
        if self.norm is None:
            place.copy_(x)
        else:
            norm_into(x, self.norm, place, silu=True)


class HeadRows(ConvRows):
    """The last norm, SiLU and convolution."""

    def __init__(self, head: Head, scratch: Scratch, extent: Extent) -> None:
        super().__init__(cast("CausalConv", head["2"]), scratch, extent, cast("PixelNorm", head["0"]))


class UpRows(_Rows3):
    """Pixels repeated 2x2, then a 3x3 convolution; before that, a clip's frames doubled where the layer does so."""

    growth = 4

    def __init__(self, layer: Upsample, scratch: Scratch, extent: Extent) -> None:
        self.scale = 2 if scratch.fast and doubling_pays(layer.conv.weight, extent.pixels) else 1
        super().__init__(layer.conv, scratch, extent.after(layer))
        self.layer = layer

    def _form(self) -> Form | None:
        return None if self.scale == 2 else super()._form()

    def _block(self) -> int:
        return PAIR if self.scale == 2 else super()._block()

    def push(self, x: Tensor, last: bool) -> Tensor:
        """(t, c, n, w) -> (t', out, about 2n, 2w)."""
        if x.shape[0] > 1 and self.layer.temporal:
            x = double_frames(x, cast("TimeConv", self.layer.time_conv))
        times = 2 // self.scale  # pixels are repeated here unless the convolution does it
        return self.convolve(x, times * x.shape[2], times * x.shape[3], last, self._write)

    def _run(self, window: Tensor) -> Tensor:
        if self.scale == 1:
            return super()._run(window)
        if self.kernels is None:
            self.kernels = transform_doubling_kernel(self.conv.weight)
        return convolve_doubled(window, self.kernels, cast("Tensor", self.conv.bias), self.scratch)

    def _write(self, x: Tensor, place: Tensor) -> None:
        n, w = x.shape[2:]
        if self.scale == 2:
            place.copy_(x)
        elif n:
            target = place.permute(0, 2, 3, 1).unflatten(2, (w, 2)).unflatten(1, (n, 2))
            target.copy_(x.permute(0, 2, 3, 1)[:, :, None, :, None])


class DownRows:
    """A 3x3 convolution of stride 2 with zeros on the right and below."""

    growth = 1

    def __init__(self, layer: Downsample, scratch: Scratch, extent: Extent) -> None:
        self.layer, self.conv = layer, layer.conv
        self.kept: Tensor | None = None

    def push(self, x: Tensor, last: bool) -> Tensor:
        """(t, c, n, w) -> (t', c, about n/2, w/2)."""
        n, w = x.shape[2:]
        k = 0 if self.kept is None else self.kept.shape[2]
        window = _empty(x, x.shape[1], k + n + last, w + 1)
        if k:
            window[:, :, :k] = cast("Tensor", self.kept)
        window[:, :, k : k + n, :w] = x
        window[..., w] = 0
        if last:
            window[:, :, -1] = 0
        done = max(0, (window.shape[2] - 1) // 2)
        self.kept = window[:, :, 2 * done :].clone()
        y = self.conv(window[:, :, : 2 * done + 1]) if done else _empty(x, self.conv.out_channels, 0, w // 2)
        return halve_frames(y, cast("TimeConv", self.layer.time_conv)) if x.shape[0] > 1 and self.layer.temporal else y


class ResidualRows:
    """A residual block; the shortcut's rows wait until the two convolutions have caught up."""

    growth = 1

    def __init__(self, block: Residual, scratch: Scratch, extent: Extent) -> None:
        self.halves = [ConvRows(conv, scratch, extent, norm) for norm, conv in block.halves()]
        self.shortcut = block.shortcut
        self.waiting = _Waiting()

    def push(self, x: Tensor, last: bool) -> Tensor:
        """(t, c, n, w) -> (t, out, about n, w)."""
        y = x
        for half in self.halves:
            y = half.push(y, last)
        return self.waiting.add(y, x if self.shortcut is None else mix(x, self.shortcut.weight, self.shortcut.bias))


class LevelRows:
    """A level of Wan 2.2 with the shortcut around it."""

    def __init__(self, level: DownLevel | UpLevel, scratch: Scratch, extent: Extent) -> None:
        self.level = level
        self.growth = 4 if isinstance(level, UpLevel) and level.size == 2 else 1
        self.stages = _stages(level.layers, scratch, extent)
        self.pair = level.size if isinstance(level, DownLevel) else 1  # rows that the shortcut takes together
        self.odd: Tensor | None = None
        self.waiting = _Waiting()

    def push(self, x: Tensor, last: bool) -> Tensor:
        """(t, c, n, w) -> (t, out, about n/2, n or 2n, w')."""
        y = x
        for stage in self.stages:
            y = stage.push(y, last)
        if isinstance(self.level, UpLevel) and self.level.size == 1:
            return y
        if self.odd is not None:
            x = torch.cat([self.odd, x], dim=2)
        even = x.shape[2] // self.pair * self.pair
        self.odd = x[:, :, even:].clone() if even < x.shape[2] else None
        if not even:
            return self.waiting.add(y, y[:, :, :0])
        rows = self.level.shortcut(x[:, :, :even].transpose(0, 1).unsqueeze(0))
        return self.waiting.add(y, rows.squeeze(0).transpose(0, 1))


class _Gather:
    """Rows on their way into a level, held until they make a piece; halving makes rows small."""

    def __init__(self, stages: list[RowStage], pixels: int, sink: Sink) -> None:
        self.stages, self.pixels, self.sink = stages, pixels, sink
        self.rows: list[Tensor] = []

    def push(self, x: Tensor, last: bool) -> None:
        self.rows.append(x)
        if last or sum(rows.shape[2] for rows in self.rows) * x.shape[0] * x.shape[3] >= self.pixels:
            x = self.rows[0] if len(self.rows) == 1 else torch.cat(self.rows, dim=2)
            self.rows = []
            flow(self.stages, x, last, self.pixels, self.sink)


class _Waiting:
    """Shortcut rows that came before the rows they are to be added to."""

    def __init__(self) -> None:
        self.rows: Tensor | None = None

    def add(self, y: Tensor, rows: Tensor) -> Tensor:
        """Add to ``y``, in place, the oldest rows (``rows`` are the newest)."""
        k = 0 if self.rows is None else min(self.rows.shape[2], y.shape[2])
        if k and self.rows is not None:
            y[:, :, :k] += self.rows[:, :, :k]
        n = y.shape[2] - k
        if n:
            y[:, :, k:] += rows[:, :, :n]
        left = [] if self.rows is None else [self.rows[:, :, k:]]
        self.rows = torch.cat([*left, rows[:, :, n:]], dim=2)
        return y


def _levels(stages: list[RowStage]) -> list[list[RowStage]]:
    """The encoder's stages, cut after each halving."""
    levels: list[list[RowStage]] = [[]]
    for stage in stages:
        levels[-1].append(stage)
        if isinstance(stage, (DownRows, LevelRows)):
            levels.append([])
    return [level for level in levels if level]


def _middle(layers: nn.Sequential, x: Tensor, pixels: int, scratch: Scratch) -> Tensor:
    """The middle block, which needs the whole picture because of its attention."""
    x = attend(cast("Attention", layers[1]), whole(layers[0], x, pixels, scratch))
    return whole(layers[2], x, pixels, scratch)


def _empty(like: Tensor, channels: int, rows: int, width: int) -> Tensor:
    shape = (like.shape[0], channels, rows, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
