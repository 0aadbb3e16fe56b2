"""Streaming layers: each takes a feature map a few rows at a time and returns the rows that are complete.

Outside the middle attention every layer is local: a 3x3 convolution needs one row above and one below. So each layer
keeps the last rows it was given (a line buffer), as a causal network does along time. A chunk may have any number of
rows; a chunk that is the whole image is the ordinary run. The result is the same: no halo is computed twice and there
is no seam. Small chunks are also the fastest on a CPU: activations stay in its cache and no page is touched for the
first time.

A video streams in the same way with its frames as the batch, all of them at each row: a causal 3x3x3 convolution is
then the 2-D one plus the two earlier slices of its kernel on the frames before. No frame is cached, padded or copied.

Everything here runs without autograd, on one image or video at a time; tensors are (t, c, rows, w), channels_last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cpu.algorithm import select_algorithm
from ..cpu.workspace import Workspace
from ..feature_map import FeatureMapSize, trace_sizes
from ..layers import CausalConv, Downsample, DownStage, Head, PixelNorm, Residual, TimeConv, Upsample, UpStage
from .inplace import norm_into
from .temporal import convolve_1x1, downsample_frames, upsample_frames

__all__ = ["Stream", "StreamingLayer", "gather_rows", "make_streaming", "run_streaming", "run_whole", "split_stages"]

Stream = Iterator[tuple[Tensor, bool]]
"""Chunks of rows in order, each with whether it is the last; a chunk may have no rows."""


class StreamingLayer(Protocol):
    """A layer that takes rows in chunks."""

    growth: int
    """Pixels that come out for one that goes in; chunks are smaller where it is more than one."""

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Take the next rows; return those that are complete now (all that are left when ``last``)."""
        ...


def make_streaming(
    layers: Iterable[nn.Module], size: FeatureMapSize, workspace: Workspace | None
) -> list[StreamingLayer]:
    """Make the streaming counterparts of some consecutive layers, at the top of an image or video.

    Args:
        layers: in the order in which they run.
        size: of the first one's input, whole.
        workspace: for the convolution algorithms of CPUs; None takes direct convolutions.
    """
    kinds: dict[type[nn.Module], Callable[..., StreamingLayer]] = {
        CausalConv: StreamingConv, Head: _make_head, Residual: StreamingResidual, Downsample: StreamingDownsample,
        Upsample: StreamingUpsample, DownStage: StreamingStage, UpStage: StreamingStage,
    }  # fmt: skip
    return [kinds[type(layer)](layer, inside, workspace) for layer, inside in trace_sizes(layers, size)]


def run_streaming(layers: Sequence[StreamingLayer], x: Tensor, last: bool, chunk_pixels: int) -> Stream:
    """Send rows through some layers and yield the result's rows as they are complete.

    Args:
        layers: in the order in which they run.
        x: the next rows, (t, c, n, w).
        last: whether no more rows follow.
        chunk_pixels: about how many pixels a layer takes at a time.
    """
    if not layers:
        yield x, last
        return
    layer, rest = layers[0], layers[1:]
    rows = chunk_pixels // (x.shape[0] * x.shape[3] * layer.growth)
    chunks = x.split(max(1, rows), dim=2)
    for i, chunk in enumerate(chunks):
        final = last and i == len(chunks) - 1
        y = layer.process(chunk, final)
        if final or y.shape[2]:
            yield from run_streaming(rest, y, final, chunk_pixels)


def run_whole(layer: nn.Module, x: Tensor, chunk_pixels: int, workspace: Workspace | None) -> Tensor:
    """Run one local layer over a whole feature map (t, c, h, w) in chunks of about ``chunk_pixels`` pixels."""
    stream = run_streaming(make_streaming([layer], FeatureMapSize.of(x), workspace), x, True, chunk_pixels)
    return torch.cat([y for y, _ in stream if y.shape[2]], dim=2).contiguous(memory_format=torch.channels_last)


def gather_rows(stream: Stream, chunk_pixels: int) -> Stream:
    """Hold rows back until they make a chunk; after a downsampling they are few."""
    held: list[Tensor] = []
    for x, last in stream:
        held.append(x)
        if last or sum(rows.shape[2] for rows in held) * x.shape[0] * x.shape[3] >= chunk_pixels:
            chunk = held[0] if len(held) == 1 else torch.cat(held, dim=2)
            held = []
            yield chunk, last


def split_stages(layers: Sequence[StreamingLayer]) -> list[list[StreamingLayer]]:
    """Split an encoder's layers after each downsampling, into its resolution stages."""
    stages: list[list[StreamingLayer]] = [[]]
    for layer in layers:
        stages[-1].append(layer)
        if isinstance(layer, (StreamingDownsample, StreamingStage)):
            stages.append([])
    return [stage for stage in stages if stage]


@dataclass(frozen=True)
class _RowCounts:
    """The rows of the window over which a 3x3 convolution runs when the next rows have come.

    Args:
        carried: rows kept from the chunks before, at first the row of zeros above the image.
        done: rows of the result that are complete.
        fill: rows of zeros below the window that complete the last block.
    """

    carried: int
    done: int
    fill: int

    @classmethod
    def plan(cls, carried: int, new: int, last: bool, block: int) -> _RowCounts:
        """Count the rows for ``new`` input rows of an algorithm that computes ``block`` rows together."""
        ready = carried + new + last - 2  # a row needs the one above and the one below; below the last one are zeros
        done = ready if last else max(0, ready // block * block)
        return cls(carried, done, -done % block if last else 0)


class StreamingConv:
    """A 3x3 convolution with zeros around the image, after an optional norm and SiLU.

    For each chunk it writes a window of rows: those carried over, the new ones, zeros below the last. It convolves as
    many as give complete rows of the result, and carries over the rows that the next results need. For example, an
    image of five rows that comes in chunks of rows 0-1, 2-3 and 4 (z is a row of zeros):

        chunk   carried   window         complete   carried over
        0-1     z         z 0 1          0          0 1
        2-3     0 1       0 1 2 3        1 2        2 3
        4       2 3       2 3 4 z        3 4

    An algorithm that computes blocks of rows (see :mod:`..cpu.algorithm`) returns whole blocks counted from the top of
    the image, so that the blocks, and thereby the numbers, do not depend on the chunks. With blocks of four rows the
    first two chunks complete nothing, and the last window gets three rows of zeros as ``fill``, whose results are cut
    off:

        chunk   carried     window                   complete    carried over
        0-1     z           z 0 1                    -           z 0 1
        2-3     z 0 1       z 0 1 2 3                -           z 0 1 2 3
        4       z 0 1 2 3   z 0 1 2 3 4 z + z z z    0 1 2 3 4
    """

    growth = 1

    def __init__(
        self,
        layer: CausalConv | Upsample,
        size: FeatureMapSize,
        workspace: Workspace | None,
        norm: PixelNorm | None = None,
    ) -> None:
        self.conv = layer.conv if isinstance(layer, Upsample) else layer
        self.norm, self.workspace = norm, workspace
        self.algorithm = None if workspace is None else select_algorithm(layer, size)
        self.block, self.scale = (1, 1) if self.algorithm is None else (self.algorithm.block, self.algorithm.scale)
        self.filters: list[Tensor] | None = None
        self.carried: Tensor | None = None  # None: the row of zeros above the image

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Convolve (t, c, n, w) to (t, out, about n, w)."""
        return self._convolve(x, x.shape[2], x.shape[3], last)

    def _write(self, x: Tensor, out: Tensor) -> None:
        """Write the convolution's input for these rows into its window."""
        if self.norm is None:
            out.copy_(x)
        else:
            norm_into(x, self.norm, out, silu=True)

    def _convolve(self, x: Tensor, rows: int, width: int, last: bool) -> Tensor:
        """Convolve the ``rows`` x ``width`` pixels that :meth:`_write` makes of ``x``; return what is complete."""
        counts = _RowCounts.plan(1 if self.carried is None else self.carried.shape[2], rows, last, self.block)
        window = self._make_window(x, counts, rows, width, last)
        self.carried = window[:, :, counts.done : counts.carried + rows].clone()
        height, width = counts.done * self.scale, width * self.scale
        if not height:
            return _make_empty(x, self.conv.out_channels, 0, width)
        y = self._run(window[:, :, : counts.done + counts.fill + 2])
        if last:
            self.filters = None
        cut = y.shape[2:] != (height, width)
        return y[:, :, :height, :width].contiguous(memory_format=torch.channels_last) if cut else y

    def _make_window(self, x: Tensor, counts: _RowCounts, rows: int, width: int, last: bool) -> Tensor:
        border = 1 if self.block > 1 else 0  # columns of zeros in the window; a direct convolution adds its own
        start, end = counts.carried, counts.carried + rows
        full_width = width + -width % self.block + 2 * border
        window = _make_empty(x, x.shape[1], end + last + counts.fill, full_width)
        window[:, :, :start] = 0 if self.carried is None else self.carried
        window[:, :, end:] = 0
        if border:
            window[..., :1] = 0
            window[..., width + 1 :] = 0
        self._write(x, window[:, :, start:end, border : border + width])
        return window

    def _run(self, window: Tensor) -> Tensor:
        past = self.conv.past if window.shape[0] > 1 and isinstance(self.conv, CausalConv) else None
        if self.algorithm is not None and self.workspace is not None:
            if self.filters is None:
                weights = [self.conv.weight, *([] if past is None else [past[1], past[0]])]
                self.filters = self.algorithm.transform_filters(weights)
            return self.algorithm.convolve(window, self.filters, cast("Tensor", self.conv.bias), self.workspace)
        y = F.conv2d(window, self.conv.weight, self.conv.bias, padding=(0, 1))
        if past is not None:
            for ago in range(1, min(3, window.shape[0])):
                y[ago:] += F.conv2d(window[:-ago], past[2 - ago], padding=(0, 1))
        return y


def _make_head(head: Head, size: FeatureMapSize, workspace: Workspace | None) -> StreamingConv:
    return StreamingConv(cast("CausalConv", head["2"]), size, workspace, cast("PixelNorm", head["0"]))


class StreamingUpsample(StreamingConv):
    """Nearest upsampling, then a 3x3 convolution; before that, more frames of a video where the layer makes them."""

    growth = 4

    def __init__(self, layer: Upsample, size: FeatureMapSize, workspace: Workspace | None) -> None:
        super().__init__(layer, size, workspace)
        self.layer = layer

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Upsample (t, c, n, w) to (t', out, about 2n, 2w)."""
        if x.shape[0] > 1 and self.layer.temporal:
            x = upsample_frames(x, cast("TimeConv", self.layer.time_conv))
        times = 2 // self.scale  # 1 where the algorithm upsamples
        return self._convolve(x, times * x.shape[2], times * x.shape[3], last)

    def _write(self, x: Tensor, out: Tensor) -> None:
        n, w = x.shape[2:]
        if self.scale == 2:
            out.copy_(x)
        elif n:
            target = out.permute(0, 2, 3, 1).unflatten(2, (w, 2)).unflatten(1, (n, 2))  # t n 2 w 2 c
            target.copy_(x.permute(0, 2, 3, 1)[:, :, None, :, None])


class StreamingDownsample:
    """A 3x3 convolution of stride 2 with zeros on the right and below, then fewer frames where the layer makes them."""

    growth = 1

    def __init__(self, layer: Downsample, size: FeatureMapSize, workspace: Workspace | None) -> None:
        self.layer, self.conv = layer, layer.conv
        self.carried: Tensor | None = None

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Downsample (t, c, n, w) to (t', c, about n/2, w/2)."""
        n, w = x.shape[2:]
        k = 0 if self.carried is None else self.carried.shape[2]
        window = _make_empty(x, x.shape[1], k + n + last, w + 1)
        if k:
            window[:, :, :k] = cast("Tensor", self.carried)
        window[:, :, k : k + n, :w] = x
        window[..., w] = 0
        if last:
            window[:, :, -1] = 0
        done = max(0, (window.shape[2] - 1) // 2)
        self.carried = window[:, :, 2 * done :].clone()
        y = self.conv(window[:, :, : 2 * done + 1]) if done else _make_empty(x, self.conv.out_channels, 0, w // 2)
        if x.shape[0] > 1 and self.layer.temporal:
            y = downsample_frames(y, cast("TimeConv", self.layer.time_conv))
        return y


class StreamingResidual:
    """A residual block; the shortcut's rows wait until the two convolutions have caught up."""

    growth = 1

    def __init__(self, block: Residual, size: FeatureMapSize, workspace: Workspace | None) -> None:
        self.convs = [StreamingConv(conv, size, workspace, norm) for norm, conv in block.split_halves()]
        self.shortcut = block.shortcut
        self.delayed = _DelayedRows()

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Map (t, c, n, w) to (t, out, about n, w)."""
        y = x
        for conv in self.convs:
            y = conv.process(y, last)
        if self.shortcut is not None:
            x = convolve_1x1(x, self.shortcut.weight, self.shortcut.bias)
        return self.delayed.add(y, x)


class StreamingStage:
    """A resolution stage of Wan 2.2 with the shortcut around it."""

    def __init__(self, stage: DownStage | UpStage, size: FeatureMapSize, workspace: Workspace | None) -> None:
        self.stage = stage
        self.layers = make_streaming(stage.layers, size, workspace)
        self.growth = stage.scale[0] ** 2 if isinstance(stage, UpStage) else 1
        self.rows_together = stage.scale[0] if isinstance(stage, DownStage) else 1  # that the shortcut averages
        self.odd: Tensor | None = None
        self.delayed = _DelayedRows()

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Map (t, c, n, w) to (t', out, about n/2, n or 2n, w')."""
        y = x
        for layer in self.layers:
            y = layer.process(y, last)
        if isinstance(self.stage, UpStage) and self.stage.scale == (1, 1):
            return y
        if self.odd is not None:
            x = torch.cat([self.odd, x], dim=2)
        even = x.shape[2] // self.rows_together * self.rows_together
        self.odd = x[:, :, even:].clone() if even < x.shape[2] else None
        if not even:
            return self.delayed.add(y, y[:, :, :0])
        rows = self.stage.shortcut(x[:, :, :even].transpose(0, 1).unsqueeze(0))  # 1 c t n w
        return self.delayed.add(y, rows.squeeze(0).transpose(0, 1))


class _DelayedRows:
    """Rows of a shortcut that wait for the rows to which they are added."""

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


def _make_empty(like: Tensor, channels: int, rows: int, width: int) -> Tensor:
    shape = (like.shape[0], channels, rows, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
