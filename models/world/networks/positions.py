"""Sine and cosine position embeddings: the first two thirds say where in the frame, the last third says when."""

from __future__ import annotations

from functools import lru_cache

import torch
from einops import repeat
from torch import Tensor, nn

from .initialise import initialise

__all__ = ["SpatialPositions", "split_embedding", "temporal_position_embedding"]


def split_embedding(embed_dim: int) -> tuple[int, int, int]:
    """Return how many channels of an embedding carry the column, the row and the time (each even)."""
    time = (embed_dim // 3) & ~1
    column = ((embed_dim - time) // 2) & ~1
    return column, embed_dim - time - column, time


class SpatialPositions(nn.Module):
    """Add the position in the frame to patch embeddings; patches are in row-major order.

    Shapes:
        x (..., rows * columns, e) -> the same.
    """

    table: Tensor

    def __init__(self, rows: int, columns: int, embed_dim: int) -> None:
        super().__init__()
        self.rows, self.columns, self.embed_dim = rows, columns, embed_dim
        self.reset()

    def reset(self) -> None:
        """Make the table on torch's default device: column part, row part, zeros where the time goes.

        A file does not hold it, so a network that was built on the meta device needs this after it is filled.
        """
        table = torch.empty(1, self.rows * self.columns, self.embed_dim)
        initialise(table, lambda table: table.copy_(self._embed_positions()))
        self.register_buffer("table", table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with the positions added, in its dtype."""
        return x + self.table.to(x.dtype)

    def _embed_positions(self) -> Tensor:
        column, row, time = split_embedding(self.embed_dim)
        across = repeat(_interleave_sin_cos(torch.arange(self.columns), column), "x e -> (y x) e", y=self.rows)
        down = repeat(_interleave_sin_cos(torch.arange(self.rows), row), "y e -> (y x) e", x=self.columns)
        return torch.cat([across, down, across.new_zeros(self.rows * self.columns, time)], dim=-1).unsqueeze(0)


def temporal_position_embedding(start: int, frames: int, embed_dim: int, like: Tensor) -> Tensor:
    """Return the embedding (frames, 1, embed_dim) of the window's positions start, start + 1, ..., zeros in front.

    It is kept: every pass of a rollout asks for the same few. Do not write to it.

    Args:
        start: Position of the first frame in the window.
        frames: How many positions.
        embed_dim: Width of a patch's embedding.
        like: Gives device and dtype.
    """
    return _make_temporal_table(start, frames, embed_dim, like.device, like.dtype)


@lru_cache(maxsize=256)
def _make_temporal_table(start: int, frames: int, embed_dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    _, _, time = split_embedding(embed_dim)
    with torch.inference_mode(False):  # a table of a first use in inference serves training as well
        table = _interleave_sin_cos(torch.arange(start, start + frames, device="cpu"), time)
        table = torch.cat([table.new_zeros(frames, embed_dim - time), table], dim=-1).unsqueeze(1)
        return table.to(device, dtype)


def _interleave_sin_cos(positions: Tensor, dim: int) -> Tensor:
    """Interleave sin and cos of position / 10000^(2j / dim): (n,) -> (n, dim)."""
    exponent = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / max(dim, 1)
    angle = positions.float().unsqueeze(-1) / torch.pow(10000.0, exponent)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
