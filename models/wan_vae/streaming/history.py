"""What a video that comes a few frames at a time remembers: the last frames of each layer's input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..cpu.workspace import Workspace

__all__ = ["FrameCache", "History", "Resources"]

Kept = TypeVar("Kept")


class FrameCache:
    """The last frames of one layer's input, exchanged for the next ones row by row.

    Each row is read once and then overwritten, so that one buffer is enough.

    Args:
        keep: How many frames the layer looks back.
        rows: Height of its input.
    """

    def __init__(self, keep: int, rows: int) -> None:
        self.keep, self.rows = keep, rows
        self.valid, self.seen = 0, 0  # frames that were there before this chunk of frames, and in all so far
        self.buffer: Tensor | None = None

    def start_chunk(self) -> None:
        """Take what the last chunk of frames left as the earlier frames of the next."""
        self.valid = min(self.keep, self.seen)

    def read(self, top: int, rows: int) -> Tensor | None:
        """Return the earlier frames of some rows, (valid, c, rows, w), a view; None where there are none."""
        return None if self.buffer is None or not self.valid else self.buffer[-self.valid :, :, top : top + rows]

    def write(self, x: Tensor, top: int) -> None:
        """Keep the last of some frames, the earlier ones included, for rows from ``top`` on; (f, c, rows, w)."""
        n = min(self.keep, x.shape[0])
        self.seen = max(self.seen, n)
        if self.buffer is None:
            shape = (self.keep, x.shape[1], self.rows, x.shape[3])
            self.buffer = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        self.buffer[-n:, :, top : top + x.shape[2]] = x[-n:]

    def exchange(self, x: Tensor, top: int) -> Tensor:
        """Return the earlier frames of some rows with ``x`` (t, c, rows, w) behind them, and keep the last of both."""
        earlier = self.read(top, x.shape[2])
        both = x if earlier is None else torch.cat([earlier, x])
        self.write(both, top)
        return both


@dataclass
class History:
    """The caches of all layers of a video, and what else outlives a chunk of frames.

    Args:
        is_first: Whether the video's first frame, which is a chunk of its own, is being done.
    """

    is_first: bool = True
    caches: dict[nn.Module, FrameCache] = field(default_factory=dict)
    filters: dict[nn.Module, list[Tensor]] = field(default_factory=dict)

    def take_cache(self, layer: nn.Module, keep: int, rows: int) -> FrameCache:
        """Return a layer's cache, ready for the next chunk of frames."""
        cache = self.caches.setdefault(layer, FrameCache(keep, rows))
        cache.start_chunk()
        return cache


@dataclass(frozen=True)
class Resources:
    """What the layers of one run share.

    Args:
        workspace: For the convolution algorithms of CPUs; None takes direct convolutions.
        history: Of a video that comes a few frames at a time; None where all of it comes at once.
    """

    workspace: Workspace | None = None
    history: History | None = None
