"""The networks of the legacy format (v1, July 2025): continuous latents, learned bins, regression of the next frame.

Differences from the current format: LayerNorm and ReLU, learned positions in the frame and none in time, one linear map
for a whole frame, and actions that are vectors of a codebook added to the latents of every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.attention import attend_over_patches, attend_over_time
from ..networks.patches import cut_patches
from ..networks.sizes import NetworkSizes

__all__ = ["LegacyActionModel", "LegacyConfig", "LegacyDynamics", "LegacyTokenizer"]


@dataclass(frozen=True)
class LegacyConfig(NetworkSizes):
    """Sizes of one legacy network; num_bins belongs to the tokenizer, n_actions to the action model."""

    latent_dim: int
    num_bins: int = 0
    n_actions: int = 0


# The networks of this format state all their layers here, also where today's are alike: the folder stands alone.


class _Attention(nn.Module):
    def __init__(self, config: LegacyConfig, over_time: bool) -> None:
        super().__init__()
        width = config.embed_dim
        self.num_heads = config.num_heads
        self.attend = attend_over_time if over_time else attend_over_patches
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.num_heads)
        return self.norm(x + self.out_proj(out))


class _FeedForward(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.embed_dim, config.hidden_dim)
        self.linear2 = nn.Linear(config.hidden_dim, config.embed_dim)
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class _Block(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.spatial_attn = _Attention(config, over_time=False)
        self.temporal_attn = _Attention(config, over_time=True)
        self.ffn = _FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn(self.temporal_attn(self.spatial_attn(x)))


class _Transformer(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class _PatchEmbedding(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.side = config.side
        self.proj = nn.Linear(3 * config.patch_size**2, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.patches, config.embed_dim))

    def forward(self, frames: Tensor) -> Tensor:
        patches = cut_patches(frames, self.side)
        return self.proj(patches) + self.pos_embed


class _FrameEncoder(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbedding(config)
        self.transformer = _Transformer(config)
        self.latent_head = nn.Sequential(nn.LayerNorm(config.embed_dim), nn.Linear(config.embed_dim, config.latent_dim))

    def forward(self, frames: Tensor) -> Tensor:
        return self.latent_head(self.transformer(self.patch_embed(frames)))


class _FrameDecoder(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.frame_size = config.frame_size
        self.latent_embed = nn.Linear(config.latent_dim, config.embed_dim)
        self.transformer = _Transformer(config)
        self.frame_head = nn.Linear(config.patches * config.embed_dim, 3 * config.frame_size**2)

    def forward(self, latents: Tensor) -> Tensor:
        x = rearrange(self.transformer(self.latent_embed(latents)), "b t p e -> b t (p e)")
        return rearrange(self.frame_head(x), "b t (h w c) -> b t c h w", h=self.frame_size, w=self.frame_size)


class _LearnedBins(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.bins = nn.Parameter(torch.linspace(-1, 1, config.num_bins).repeat(config.latent_dim, 1))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        bins = self.bins
        digits = (latents.unsqueeze(-1) - bins).abs().argmin(-1)
        nearest = bins.gather(1, digits.flatten(0, -2).t()).t().view_as(latents)
        return nearest, digits


class LegacyTokenizer(nn.Module):
    """Frames to latents on learned bins and back.

    Shapes:
        frames (b, t, 3, S, S) in [-1, 1]; latents (b, t, p, l); digits (b, t, p, l) int64, the bin of each number.
    Source:
        parity: TinyWorlds 6a44975 ``src/vqvae``, tests/vectors/tinyworlds.
    """

    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _FrameEncoder(config)
        self.vq = _LearnedBins(config)
        self.decoder = _FrameDecoder(config)

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantised latents of frames and their digits."""
        return self.vq(self.encoder(frames))

    def quantize(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest bins of latents and their digits."""
        return self.vq(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Return frames (not clamped) of latents."""
        return self.decoder(latents)


class _TransitionEncoder(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbedding(config)
        self.transformer = _Transformer(config)
        width = 2 * config.embed_dim
        self.action_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.latent_dim))

    def forward(self, frames: Tensor) -> Tensor:
        pooled = self.transformer(self.patch_embed(frames)).mean(dim=2)
        return self.action_head(torch.cat([pooled[:, :-1], pooled[:, 1:]], dim=-1))


class _ActionCodebook(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.n_actions, config.latent_dim)


class LegacyActionModel(nn.Module):
    """Name the action between neighbouring frames; an action is a vector of a codebook (a latent's width).

    Shapes:
        frames (b, t, 3, S, S), t >= 2 -> ids (b, t - 1) int64; vectors (..., l).
    """

    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _TransitionEncoder(config)
        self.quantizer = _ActionCodebook(config)

    def infer(self, frames: Tensor) -> Tensor:
        """Return the ids of the codebook vectors nearest to the transitions.

        Raises:
            ValueError: There is only one frame.
        """
        if frames.shape[1] < 2:
            raise ValueError(f"frames: {frames.shape[1]} given, but an action lies between two; give at least 2.")
        vectors = self.encoder(frames)
        return (vectors.unsqueeze(-2) - self.quantizer.embedding.weight).square().sum(-1).argmin(-1)

    def look_up_vectors(self, actions: Tensor) -> Tensor:
        """Return the codebook vectors of action ids: (...) -> (..., l)."""
        return self.quantizer.embedding(actions)


class _Regression(nn.Module):
    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.latent_embed = nn.Linear(config.latent_dim, config.embed_dim)
        self.transformer = _Transformer(config)
        self.latent_head = nn.Linear(config.embed_dim, config.latent_dim)

    def forward(self, latents: Tensor) -> Tensor:
        return self.latent_head(self.transformer(self.latent_embed(latents)))


class LegacyDynamics(nn.Module):
    """Predict each next frame's latents from latents with the action's vector added: (b, t, p, l) -> same shape."""

    def __init__(self, config: LegacyConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = _Regression(config)

    def forward(self, latents: Tensor) -> Tensor:
        """Return the latents of the frames that follow each frame."""
        return self.decoder(latents)
