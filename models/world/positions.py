"""Sine and cosine position tables: the first two thirds of an embedding say where in the frame, the last third when."""

from __future__ import annotations

import torch
from einops import repeat
from torch import Tensor

__all__ = ["spatial_positions", "split_embedding", "temporal_positions"]


def split_embedding(embed_dim: int) -> tuple[int, int, int]:
    """Return how many numbers of an embedding carry the column, the row and the time (each even)."""
    time = (embed_dim // 3) & ~1
    column = ((embed_dim - time) // 2) & ~1
    return column, embed_dim - time - column, time


def spatial_positions(rows: int, columns: int, embed_dim: int) -> Tensor:
    """Return (1, rows * columns, embed_dim) float32: column part, row part, zeros; patches in row-major order."""
    if torch.get_default_device().type == "meta":  # only the size counts, and torch would load its compiler for it
        return torch.empty(1, rows * columns, embed_dim)
    column, row, time = split_embedding(embed_dim)
    across = repeat(_table(torch.arange(columns), column), "x e -> (y x) e", y=rows)
    down = repeat(_table(torch.arange(rows), row), "y e -> (y x) e", x=columns)
    return torch.cat([across, down, across.new_zeros(rows * columns, time)], dim=-1).unsqueeze(0)


def temporal_positions(start: int, frames: int, embed_dim: int, like: Tensor) -> Tensor:
    """Return (frames, 1, embed_dim) for window positions start, start + 1, ...; zeros, then the time part."""
    _, _, time = split_embedding(embed_dim)
    table = _table(torch.arange(start, start + frames, device=like.device), time).to(like.dtype)
    return torch.cat([table.new_zeros(frames, embed_dim - time), table], dim=-1).unsqueeze(1)


def _table(positions: Tensor, dim: int) -> Tensor:
    """Interleave sin and cos of position / 10000^(2j / dim): (n,) -> (n, dim)."""
    exponent = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / max(dim, 1)
    angle = positions.float().unsqueeze(-1) / torch.pow(torch.tensor(10000.0, device=positions.device), exponent)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
