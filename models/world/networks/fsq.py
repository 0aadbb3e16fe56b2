"""Finite scalar quantisation: every latent channel is rounded to one of a few values; their digits are the token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FiniteScalarQuantizer"]


class FiniteScalarQuantizer(nn.Module):
    """Round tanh(latent) to ``num_bins`` values per channel; the rounded vector is the code, its number the token.

    Shapes:
        latents and codes (..., l); tokens (...) int64 in [0, num_bins ** l), least significant digit first.
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
        """Return the codes in [-1, 1]; the gradient passes the rounding unchanged (straight-through)."""
        digits = self._scale_to_digits(latents)
        rounded = digits + (digits.round() - digits).detach()
        return 2 * rounded / (self.num_bins - 1) - 1

    def to_tokens(self, latents: Tensor) -> Tensor:
        """Return the tokens of latents that are not quantised yet: (..., l) -> (...)."""
        return (self._scale_to_digits(latents).round().long() * self.basis).sum(-1)

    def to_codes(self, tokens: Tensor) -> Tensor:
        """Return the codes of tokens: (...) -> (..., l) float32 in [-1, 1]."""
        digits = (tokens.unsqueeze(-1) // self.basis) % self.num_bins
        return 2 * digits / (self.num_bins - 1) - 1

    def _scale_to_digits(self, latents: Tensor) -> Tensor:
        return 0.5 * (torch.tanh(latents) + 1) * (self.num_bins - 1)
