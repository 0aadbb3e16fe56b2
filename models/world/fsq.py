"""Finite scalar quantisation: every latent number is rounded to one of a few levels; a token is the digits' number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FiniteScalarQuantizer"]


class FiniteScalarQuantizer(nn.Module):
    """Round tanh(latent) to ``num_bins`` levels per dimension.

    Shapes:
        latents (..., l), tokens (...): int64 in [0, num_bins ** l), least significant digit first.
    Source:
        arXiv 2309.15505; parity: TinyWorlds a99f3a8, tests/vectors/tinyworlds.
    """

    basis: Tensor

    def __init__(self, latent_dim: int, num_bins: int) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.codebook_size = num_bins**latent_dim
        self.register_buffer("basis", torch.tensor([num_bins**digit for digit in range(latent_dim)]))

    def forward(self, latents: Tensor) -> Tensor:
        """Return the levels in [-1, 1]; the gradient passes the rounding unchanged (straight-through)."""
        levels = self._levels(latents)
        rounded = levels + (levels.round() - levels).detach()
        return 2 * rounded / (self.num_bins - 1) - 1

    def tokens(self, latents: Tensor) -> Tensor:
        """Return the tokens of latents that are not quantised yet: (..., l) -> (...)."""
        return (self._levels(latents).round().long() * self.basis).sum(-1)

    def tokens_of_levels(self, quantized: Tensor) -> Tensor:
        """Return the tokens of values in [-1, 1], as :meth:`forward` gives them: (..., l) -> (...)."""
        digits = (0.5 * (quantized + 1) * (self.num_bins - 1)).round().clamp(0, self.num_bins - 1)
        return (digits.long() * self.basis).sum(-1)

    def latents(self, tokens: Tensor) -> Tensor:
        """Return the levels of tokens: (...) -> (..., l) float32 in [-1, 1]."""
        digits = (tokens.unsqueeze(-1) // self.basis) % self.num_bins
        return 2 * digits / (self.num_bins - 1) - 1

    def _levels(self, latents: Tensor) -> Tensor:
        return 0.5 * (torch.tanh(latents) + 1) * (self.num_bins - 1)
