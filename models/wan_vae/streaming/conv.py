"""The streaming 3x3 convolution, the layer of which the others are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cpu.algorithm import ConvAlgorithm, select_algorithm
from ..feature_map import FeatureMapSize
from ..layers import CausalConv, PixelNorm, Upsample
from .history import FrameCache, History, Resources
from .inplace import norm_into

__all__ = ["RowCounts", "StreamingConv", "make_empty", "take_cache"]


@dataclass(frozen=True)
class RowCounts:
    """The rows of the window over which a 3x3 convolution runs when the next rows have come.

    Args:
        carried: Rows kept from the chunks before, at first the row of zeros above the image.
        done: Rows of the result that are complete.
        fill: Rows of zeros below the window that complete the last block.
    """

    carried: int
    done: int
    fill: int

    @classmethod
    def plan(cls, carried: int, new: int, last: bool, block: int) -> RowCounts:
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
        shared: Resources,
        norm: PixelNorm | None = None,
    ) -> None:
        self.conv = layer.conv if isinstance(layer, Upsample) else layer
        self.norm, self.workspace, self.history = norm, shared.workspace, shared.history
        self.algorithm = None if shared.workspace is None else select_algorithm(layer, size)
        self.block, self.scale = (1, 1) if self.algorithm is None else (self.algorithm.block, self.algorithm.scale)
        self.filters: list[Tensor] | None = None
        self.carried: Tensor | None = None  # None: the row of zeros above the image
        self.cache = take_cache(layer, 2, size, shared.history) if isinstance(layer, CausalConv) else None
        self.is_video = size.frames > 1
        self.top = 0  # rows that have come

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
        counts = RowCounts.plan(1 if self.carried is None else self.carried.shape[2], rows, last, self.block)
        window = self._make_window(x, counts, rows, width, last)
        self.top += rows
        self.carried = window[:, :, counts.done : counts.carried + rows].clone()
        height, width = counts.done * self.scale, width * self.scale
        if not height:
            return make_empty(x, self.conv.out_channels, 0, width)
        y = self._run(window[:, :, : counts.done + counts.fill + 2], window.shape[0] - x.shape[0])
        if last:
            self.filters = None
        cut = y.shape[2:] != (height, width)
        return y[:, :, :height, :width].contiguous(memory_format=torch.channels_last) if cut else y

    def _make_window(self, x: Tensor, counts: RowCounts, rows: int, width: int, last: bool) -> Tensor:
        border = 1 if self.block > 1 else 0  # columns of zeros in the window; a direct convolution adds its own
        start, end = counts.carried, counts.carried + rows
        full_width = width + -width % self.block + 2 * border
        earlier = 0 if self.cache is None else self.cache.valid
        window = make_empty(x, x.shape[1], end + last + counts.fill, full_width, frames=earlier + x.shape[0])
        if self.carried is None:
            window[:, :, :start].zero_()
        else:
            window[:, :, :start] = self.carried
        window[:, :, end:].zero_()
        if border:
            window[..., :1].zero_()
            window[..., width + 1 :].zero_()
        inside = window[:, :, start:end, border : border + width]
        self._write(x, inside[earlier:])
        if self.cache is not None:
            self._remember(self.cache, inside)
        return window

    def _remember(self, cache: FrameCache, inside: Tensor) -> None:
        """Put the earlier frames before the new ones in a window's rows, and keep the last of them all."""
        earlier = cache.read(self.top, inside.shape[2])
        if earlier is not None:
            inside[: len(earlier)] = earlier
        cache.write(inside, self.top)

    def _run(self, window: Tensor, earlier: int) -> Tensor:
        """Convolve the frames of a window but the ``earlier`` ones, (t, out, rows, w)."""
        past = self.conv.past if window.shape[0] > 1 and isinstance(self.conv, CausalConv) else None
        if self.algorithm is not None and self.workspace is not None:
            filters = self._transform_filters()
            return self.algorithm.convolve(window, filters, cast("Tensor", self.conv.bias), self.workspace, earlier)
        y = F.conv2d(window[earlier:], self.conv.weight, self.conv.bias, padding=(0, 1))
        if past is not None:
            for ago in range(1, min(3, window.shape[0])):
                first = max(0, ago - earlier)  # of the new frames that have one so long ago
                y[first:] += F.conv2d(window[earlier + first - ago : -ago], past[2 - ago], padding=(0, 1))
        return y

    def _transform_filters(self) -> list[Tensor]:
        """Return the algorithm's filters: of the frame itself, and where there are earlier frames, of two before."""
        if self.filters is None and self.history is not None:
            self.filters = self.history.filters.get(self.conv)
        if self.filters is None:
            past = self.conv.past if self.is_video and isinstance(self.conv, CausalConv) else None
            weights = [self.conv.weight, *([] if past is None else [past[1], past[0]])]
            self.filters = cast("ConvAlgorithm", self.algorithm).transform_filters(weights)
            if self.history is not None:
                self.history.filters[self.conv] = self.filters
        return self.filters


def take_cache(layer: nn.Module, keep: int, size: FeatureMapSize, history: History | None) -> FrameCache | None:
    """Return a layer's cache of ``keep`` frames of an input of this size; None where all frames come at once."""
    return None if history is None else history.take_cache(layer, keep, size.height)


def make_empty(like: Tensor, channels: int, rows: int, width: int, frames: int | None = None) -> Tensor:
    """Return an uninitialised feature map (frames, channels, rows, width), with the frames of ``like`` unless given."""
    shape = (like.shape[0] if frames is None else frames, channels, rows, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
