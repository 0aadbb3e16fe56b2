"""The latent action model: which of a few actions explains the step from one frame to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from .fsq import FiniteScalarQuantizer
from .patches import join_patches
from .sizes import NetworkSizes
from .tokenizer import PatchEmbedding
from .transformer import SpaceTimeTransformer, TransformerConfig

__all__ = ["LatentActionModel", "LatentActionsConfig", "require_action_model", "to_action_vectors"]

Model = TypeVar("Model")


@dataclass(frozen=True)
class LatentActionsConfig(NetworkSizes):
    """Sizes of a latent action model; n_actions is a power of two, an action is log2(n_actions) signs."""

    n_actions: int

    @property
    def action_dim(self) -> int:
        """Width of an action vector."""
        return self.n_actions.bit_length() - 1

    def transformer(self, action_dim: int | None) -> TransformerConfig:
        """Sizes of the encoder's transformer, or with ``action_dim`` of the decoder's."""
        return TransformerConfig(self.embed_dim, self.num_heads, self.hidden_dim, self.num_blocks, action_dim)


def to_action_vectors(actions: Tensor, action_dim: int) -> Tensor:
    """Return the signs of action ids, least significant bit first: (...) int64 -> (..., action_dim) of -1 and +1."""
    bits = torch.arange(action_dim, device=actions.device)
    return 2.0 * ((actions.unsqueeze(-1) >> bits) & 1) - 1.0


def require_action_model(model: Model | None) -> Model:
    """Return the latent action model of a world.

    Raises:
        ValueError: The world was opened without one.
    """
    if model is None:
        raise ValueError(
            "actions: this world was opened without a latent action model, so they cannot be inferred; "
            "give its file, or use context_window=1 with explicit actions."
        )
    return model


class _Encoder(nn.Module):
    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__()
        width, actions = config.embed_dim, config.action_dim
        self.patch_embed = PatchEmbedding(config.frame_size, config.patch_size, width)
        self.transformer = SpaceTimeTransformer(config.transformer(None))
        self.action_head = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, 4 * actions), nn.GELU(), nn.Linear(4 * actions, actions)
        )

    def forward(self, frames: Tensor) -> Tensor:
        pooled = self.transformer(self.patch_embed(frames)).mean(dim=2)
        return self.action_head(torch.cat([pooled[:, :-1], pooled[:, 1:]], dim=-1))


class _Decoder(nn.Module):
    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__()
        self.side, self.patch_size = config.side, config.patch_size
        self.patch_embed = PatchEmbedding(config.frame_size, config.patch_size, config.embed_dim)
        self.transformer = SpaceTimeTransformer(config.transformer(config.action_dim))
        self.frame_head = nn.Sequential(
            nn.LayerNorm(config.embed_dim), nn.Linear(config.embed_dim, 3 * config.patch_size**2), nn.Tanh()
        )
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 1, config.embed_dim))

    def forward(self, frames: Tensor, actions: Tensor, keep: Tensor | None = None) -> Tensor:
        x = self.patch_embed(frames[:, :-1])
        if keep is not None:
            x = torch.where(keep.unsqueeze(-1), x, self.mask_token.to(x.dtype))
        return join_patches(self.frame_head(self.transformer(x, actions)), self.side, self.patch_size)


class LatentActionModel(nn.Module):
    """Name the action between every two neighbouring frames.

    Shapes:
        frames (b, t, 3, S, S) in [-1, 1], t >= 2; action vectors (b, t - 1, a) of -1 and +1; ids (b, t - 1) int64.
    Source:
        parity: TinyWorlds a99f3a8 ``models/latent_actions.py``, tests/vectors/tinyworlds.
    """

    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.quantizer = FiniteScalarQuantizer(config.action_dim, 2)
        self.decoder = _Decoder(config)

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict each next frame from its predecessor and the action between them (for training).

        Args:
            frames: (b, t, 3, S, S) in [-1, 1], t >= 2.
            keep: (b, t - 1, p) bool, the patches that the decoder is given; the others are the mask token.

        Returns:
            frames 1..t - 1 as predicted, (b, t - 1, 3, S, S), and the action vectors before quantisation.
        """
        vectors = self.encoder(frames)
        return self.decoder(frames, self.quantizer(vectors), keep), vectors

    def infer(self, frames: Tensor) -> Tensor:
        """Return the action ids between neighbouring frames: (b, t, 3, S, S) -> (b, t - 1).

        Raises:
            ValueError: There is only one frame.
        """
        if frames.shape[1] < 2:
            raise ValueError(
                f"frames: {frames.shape[1]} given, but an action lies between two frames; give at least 2."
            )
        return self.quantizer.to_tokens(self.encoder(frames))
