"""The video tokenizer: frames to a grid of tokens and back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from .fsq import FiniteScalarQuantizer
from .patches import cut_patches, join_patches
from .positions import SpatialPositions
from .sizes import NetworkSizes
from .transformer import SpaceTimeTransformer, TransformerConfig

__all__ = ["PatchEmbedding", "TokenizerConfig", "VideoTokenizer"]


@dataclass(frozen=True)
class TokenizerConfig(NetworkSizes):
    """Sizes of a video tokenizer: frames are square, patch_size divides frame_size, num_bins ** latent_dim tokens."""

    latent_dim: int
    num_bins: int

    @property
    def transformer(self) -> TransformerConfig:
        """Sizes of the encoder's and the decoder's transformer."""
        return TransformerConfig(self.embed_dim, self.num_heads, self.hidden_dim, self.num_blocks)


class PatchEmbedding(nn.Module):
    """Cut frames into square patches and map each linearly to an embedding; adds the position in the frame."""

    def __init__(self, frame_size: int, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.side = frame_size // patch_size
        # A 1 x 1 convolution in the checkpoints; applied as the linear map that it is.
        self.proj = nn.Conv2d(3 * patch_size**2, embed_dim, 1)
        self.positions = SpatialPositions(self.side, self.side, embed_dim)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames: (b, t, 3, S, S) -> (b, t, p, e)."""
        patches = cut_patches(frames, self.side)
        return self.positions(F.linear(patches, self.proj.weight.flatten(1), self.proj.bias))


class _Encoder(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(config.frame_size, config.patch_size, config.embed_dim)
        self.transformer = SpaceTimeTransformer(config.transformer)
        self.latent_head = nn.Sequential(nn.LayerNorm(config.embed_dim), nn.Linear(config.embed_dim, config.latent_dim))

    def forward(self, frames: Tensor) -> Tensor:
        return self.latent_head(self.transformer(self.patch_embed(frames)))


class _FrameHead(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.side, self.patch_size = config.side, config.patch_size
        self.to_pixels = nn.Conv2d(config.embed_dim, 3 * config.patch_size**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        pixels = F.linear(x, self.to_pixels.weight.flatten(1), self.to_pixels.bias)
        return join_patches(pixels, self.side, self.patch_size)


class _Decoder(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.latent_embed = nn.Linear(config.latent_dim, config.embed_dim)
        self.transformer = SpaceTimeTransformer(config.transformer)
        self.frame_head = _FrameHead(config)
        self.positions = SpatialPositions(config.side, config.side, config.embed_dim)

    def forward(self, latents: Tensor, last: int | None = None) -> Tensor:
        x = self.transformer(self.positions(self.latent_embed(latents)))
        return self.frame_head(x if last is None else x[:, -last:])


class VideoTokenizer(nn.Module):
    """Frames to tokens and back; both halves are causal in time and count time from the window's first frame.

    Shapes:
        frames (b, t, 3, S, S) in [-1, 1]; latents (b, t, p, l) in [-1, 1]; tokens (b, t, p) int64.
    Source:
        parity: TinyWorlds a99f3a8 ``models/video_tokenizer.py``, tests/vectors/tinyworlds.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)
        self.quantizer = FiniteScalarQuantizer(config.latent_dim, config.num_bins)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the reconstruction of frames, differentiable through the quantiser (for training)."""
        return self.decoder(self.quantizer(self.encoder(frames)))

    def tokenize(self, frames: Tensor) -> Tensor:
        """Return the tokens of frames: (b, t, 3, S, S) -> (b, t, p)."""
        return self.quantizer.to_tokens(self.encoder(frames))

    def decode(self, latents: Tensor, last: int | None = None) -> Tensor:
        """Return frames (not clamped) of quantised latents; ``last`` keeps only the final frames, that many."""
        return self.decoder(latents, last)

    def to_latents(self, tokens: Tensor) -> Tensor:
        """Return the quantised latents of tokens in the network's own dtype: (b, t, p) -> (b, t, p, l)."""
        return self.quantizer.to_codes(tokens).to(self.encoder.patch_embed.proj.weight.dtype)

    def detokenize(self, tokens: Tensor, last: int | None = None) -> Tensor:
        """Return frames (not clamped) of tokens: (b, t, p) -> (b, t or last, 3, S, S)."""
        return self.decode(self.to_latents(tokens), last)
