"""The dynamics model: the tokens of the next frame, given earlier frames and the actions between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .initialise import initialise
from .positions import SpatialPositions
from .sizes import NetworkSizes
from .transformer import KVCache, SpaceTimeTransformer, TransformerConfig

__all__ = ["DynamicsConfig", "DynamicsModel"]


@dataclass(frozen=True)
class DynamicsConfig(NetworkSizes):
    """Sizes of a dynamics model; num_experts = 0 is the plain feed-forward layer."""

    latent_dim: int
    num_bins: int
    action_dim: int
    num_experts: int = 0
    top_k_experts: int = 2

    @property
    def codebook_size(self) -> int:
        """How many different tokens there are."""
        return self.num_bins**self.latent_dim

    @property
    def transformer(self) -> TransformerConfig:
        """Sizes of the transformer."""
        return TransformerConfig(
            self.embed_dim,
            self.num_heads,
            self.hidden_dim,
            self.num_blocks,
            self.action_dim,
            self.num_experts,
            self.top_k_experts,
        )


class DynamicsModel(nn.Module):
    """Score every token of the codebook at every patch of a window.

    Shapes:
        latents (b, t, p, l) in [-1, 1], masked ones replaced by :attr:`mask_token`;
        actions (b, t - 1, a) or (b, t, a) of -1 and +1, or None -> logits (b, t, p, codebook).
    Source:
        parity: TinyWorlds a99f3a8 ``models/dynamics.py``, tests/vectors/tinyworlds.
    """

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_embed = nn.Linear(config.latent_dim, config.embed_dim)
        self.transformer = SpaceTimeTransformer(config.transformer)
        self.output_mlp = nn.Linear(config.embed_dim, config.codebook_size)
        side = config.frame_size // config.patch_size
        self.positions = SpatialPositions(side, side, config.embed_dim)
        token = torch.empty(1, 1, 1, config.latent_dim)
        self.mask_token = nn.Parameter(initialise(token, lambda token: token.normal_().mul_(0.02)))

    def forward(self, latents: Tensor, actions: Tensor | None = None) -> Tensor:
        """Return the logits of the whole window (for training, and as the plain form of what a rollout does).

        Args:
            latents: (b, t, p, l).
            actions: (b, t - 1, a), the vectors between the frames; None for a model without actions.

        Shapes:
            (b, t, p, codebook).
        """
        return self.output_mlp(self.transformer(self._embed(latents), actions))

    def mask_latents(self, latents: Tensor, mask: Tensor) -> Tensor:
        """Replace the latents where ``mask`` (b, t, p) is true by the mask token."""
        return torch.where(mask.unsqueeze(-1), self.mask_token.to(latents.dtype), latents)

    def prefill(self, context: Tensor, actions: Tensor | None, horizon: int) -> KVCache:
        """Run the ``context`` latents (b, t, p, l) once; ``actions`` are those of all t + ``horizon`` frames."""
        return self.transformer.prefill(self._embed(context), actions, horizon)

    def decode_step(self, latents: Tensor, cache: KVCache, positions: Tensor) -> Tensor:
        """Return the logits of some positions of the frames that follow the context in ``cache``.

        Shapes:
            latents (b, horizon, p, l); positions (b, n) int64 in [0, horizon * p) -> (b, n, codebook).
        """
        hidden = self.transformer.decode_step(self._embed(latents), cache).flatten(1, 2)
        return self.output_mlp(hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])))

    def _embed(self, latents: Tensor) -> Tensor:
        return self.positions(self.latent_embed(latents))
