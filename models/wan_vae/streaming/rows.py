"""Streaming layers: each takes a feature map a few rows at a time and returns the rows that are complete.

Outside the middle attention every layer is local: a 3x3 convolution needs one row above and one below. So each layer
keeps the last rows it was given (a line buffer), as a causal network does along time. A chunk may have any number of
rows; a chunk that is the whole image is the ordinary run. The result is the same: no halo is computed twice and there
is no seam. Small chunks are also the fastest on a CPU: activations stay in its cache and no page is touched for the
first time.

A video streams in the same way with its frames as the batch, all of them at each row: a causal 3x3x3 convolution is
then the 2-D one plus the two earlier slices of its kernel on the frames before. No frame is cached, padded or copied.
A long one comes a few frames at a time instead; each layer then finds the last frames of its input in the
:class:`History`, and the rows of each chunk of frames stream as before.

Everything here runs without autograd, on one image or video at a time; tensors are (t, c, rows, w), channels_last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ..feature_map import FeatureMapSize, trace_sizes
from ..layers import CausalConv, Downsample, DownStage, Head, PixelNorm, Residual, TimeConv, Upsample, UpStage
from .conv import StreamingConv, make_empty, take_cache
from .history import FrameCache, Resources
from .temporal import convolve_1x1, double_frames, downsample_frames, halve_frames, upsample_frames

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


def make_streaming(layers: Iterable[nn.Module], size: FeatureMapSize, shared: Resources) -> list[StreamingLayer]:
    """Make the streaming counterparts of some consecutive layers, at the top of an image, video or chunk of frames.

    Args:
        layers: In the order in which they run.
        size: Of the first one's input, whole, with all frames of the video.
        shared: What the layers share.
    """
    kinds: dict[type[nn.Module], Callable[..., StreamingLayer]] = {
        CausalConv: StreamingConv, Head: _make_head, Residual: StreamingResidual, Downsample: StreamingDownsample,
        Upsample: StreamingUpsample, DownStage: StreamingStage, UpStage: StreamingStage,
    }  # fmt: skip
    return [kinds[type(layer)](layer, inside, shared) for layer, inside in trace_sizes(layers, size)]


def run_streaming(layers: Sequence[StreamingLayer], x: Tensor, last: bool, chunk_pixels: int) -> Stream:
    """Send rows through some layers and yield the result's rows as they are complete.

    Args:
        layers: In the order in which they run.
        x: The next rows, (t, c, n, w).
        last: Whether no more rows follow.
        chunk_pixels: About how many pixels a layer takes at a time.
    """
    for i, layer in enumerate(layers):
        rows = max(1, chunk_pixels // (x.shape[0] * x.shape[3] * layer.growth))
        if x.shape[2] > rows:
            yield from _run_in_chunks(layers[i:], [x], last, rows, chunk_pixels)
            return
        x = layer.process(x, last)
        if not (last or x.shape[2]):
            return
    yield x, last


def _run_in_chunks(
    layers: Sequence[StreamingLayer], box: list[Tensor], last: bool, rows: int, chunk_pixels: int
) -> Stream:
    """Send rows through some layers, ``rows`` at a time; ``box`` holds them, so that nobody else keeps them alive."""
    chunks = list(box.pop().split(rows, dim=2))[::-1]
    while chunks:
        chunk, final = chunks.pop(), last and not chunks
        y = layers[0].process(chunk, final)
        del chunk
        if final or y.shape[2]:
            yield from run_streaming(layers[1:], y, final, chunk_pixels)
        del y


def run_whole(layer: nn.Module, x: Tensor, chunk_pixels: int, size: FeatureMapSize, shared: Resources) -> Tensor:
    """Run one local layer over a whole feature map (t, c, h, w) in chunks of about ``chunk_pixels`` pixels."""
    stream = run_streaming(make_streaming([layer], size, shared), x, True, chunk_pixels)
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


def _make_head(head: Head, size: FeatureMapSize, shared: Resources) -> StreamingConv:
    return StreamingConv(cast("CausalConv", head["2"]), size, shared, cast("PixelNorm", head["0"]))


class StreamingUpsample(StreamingConv):
    """Nearest upsampling, then a 3x3 convolution; before that, more frames of a video where the layer makes them."""

    growth = 4

    def __init__(self, layer: Upsample, size: FeatureMapSize, shared: Resources) -> None:
        super().__init__(layer, size, shared)
        self.layer = layer
        self.frames = None if layer.time_conv is None else take_cache(layer.time_conv, 2, size, shared.history)
        self.frames_top = 0

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Upsample (t, c, n, w) to (t', out, about 2n, 2w)."""
        if self.layer.temporal:
            x = self._upsample_frames(x)
        times = 2 // self.scale  # 1 where the algorithm upsamples
        return self._convolve(x, times * x.shape[2], times * x.shape[3], last)

    def _upsample_frames(self, x: Tensor) -> Tensor:
        conv = cast("TimeConv", self.layer.time_conv)
        if self.history is None:
            return upsample_frames(x, conv) if x.shape[0] > 1 else x
        if self.history.is_first:
            return x
        cache, n = cast("FrameCache", self.frames), x.shape[2]
        both = cache.exchange(x, self.frames_top)
        self.frames_top += n
        return double_frames(both, conv, len(both) - len(x))

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

    def __init__(self, layer: Downsample, size: FeatureMapSize, shared: Resources) -> None:
        self.layer, self.conv, self.history = layer, layer.conv, shared.history
        self.carried: Tensor | None = None
        after = size.after(layer)
        self.frames = None if layer.time_conv is None else take_cache(layer.time_conv, 1, after, shared.history)
        self.top = 0

    def process(self, x: Tensor, last: bool) -> Tensor:
        """Downsample (t, c, n, w) to (t', c, about n/2, w/2)."""
        n, w = x.shape[2:]
        k = 0 if self.carried is None else self.carried.shape[2]
        window = make_empty(x, x.shape[1], k + n + last, w + 1)
        if k:
            window[:, :, :k] = cast("Tensor", self.carried)
        window[:, :, k : k + n, :w] = x
        window[..., w].zero_()
        if last:
            window[:, :, -1].zero_()
        done = max(0, (window.shape[2] - 1) // 2)
        self.carried = window[:, :, 2 * done :].clone()
        y = self.conv(window[:, :, : 2 * done + 1]) if done else make_empty(x, self.conv.out_channels, 0, w // 2)
        return self._downsample_frames(y) if self.layer.temporal else y

    def _downsample_frames(self, y: Tensor) -> Tensor:
        conv = cast("TimeConv", self.layer.time_conv)
        if self.history is None:
            return downsample_frames(y, conv) if y.shape[0] > 1 else y
        n = y.shape[2]
        both = cast("FrameCache", self.frames).exchange(y, self.top)
        self.top += n
        return y if self.history.is_first else halve_frames(both, conv)


class StreamingResidual:
    """A residual block; the shortcut's rows wait until the two convolutions have caught up."""

    growth = 1

    def __init__(self, block: Residual, size: FeatureMapSize, shared: Resources) -> None:
        self.convs = [StreamingConv(conv, size, shared, norm) for norm, conv in block.split_halves()]
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

    def __init__(self, stage: DownStage | UpStage, size: FeatureMapSize, shared: Resources) -> None:
        self.stage = stage
        self.layers = make_streaming(stage.layers, size, shared)
        self.is_first = shared.history is None or shared.history.is_first
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
        rows = self.stage.shortcut(x[:, :, :even].transpose(0, 1).unsqueeze(0), self.is_first)  # 1 c t n w
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
