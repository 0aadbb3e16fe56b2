"""The configuration of a Wan VAE, with the mean and std of its latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["WAN21", "WAN22", "WanVAEConfig"]

_MEAN_21 = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
_STD_21 = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
_MEAN_22 = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
    -0.1382, 0.0542, 0.2813, 0.0891, 0.157, -0.0098, 0.0375, -0.1825,
    -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.123,
    -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.052, 0.3748,
    0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
_STD_22 = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499, 0.4818, 0.5013,
    0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
    0.3971, 1.06, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip
_MOST_CHANNELS, _MOST_STAGES, _MOST_BLOCKS = 2**14, 8, 64  # far beyond any VAE: a damaged file takes no memory
_LARGEST_STATISTIC = 1e6
_MOST_IMAGE_CHANNELS, _LARGEST_UPSCALE = 16, 8


@dataclass(frozen=True)
class WanVAEConfig:
    """The numbers that define one Wan VAE; the defaults are Wan 2.1's.

    Args:
        dim: Channels of the encoder's first resolution stage.
        dec_dim: Channels of the decoder's last resolution stage (0: the same as ``dim``).
        z_dim: Channels of the latent.
        dim_mult: Channels of each stage as a multiple of ``dim``; every stage but the last halves height and width.
        num_res_blocks: Residual blocks of an encoder stage; a decoder stage has one more.
        temporal_downsample: For each downsampling of the encoder, whether it halves the frames of a video too.
        patch_size: 1 (Wan 2.1) or 2 (Wan 2.2, which also has shortcuts around its stages).
        latents_mean: Mean of the raw latent, one for each channel (empty: that of the real VAE with this ``z_dim``, or
            0 where there is none).
        latents_std: Its standard deviation, in the same way (1 where there is none).
        in_channels: Channels of the images that are encoded, 3 or (with alpha) 4.
        out_channels: Channels of the images that are decoded (0: as many as ``in_channels``).
        upscale: How many times as high and wide as what was encoded the decoded image is; the decoder then gives
            ``upscale`` x ``upscale`` values for each channel, and takes no videos.

    Raises:
        ValueError: A number is outside its range, a tuple has the wrong length, or the numbers exclude each other.
    """

    dim: int = 96
    dec_dim: int = 0
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    patch_size: int = 1
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()
    in_channels: int = 3
    out_channels: int = 0
    upscale: int = 1

    def __post_init__(self) -> None:
        self._check_sizes()
        known = {16: (_MEAN_21, _STD_21), 48: (_MEAN_22, _STD_22)}
        mean, std = known.get(self.z_dim, ((0.0,) * self.z_dim, (1.0,) * self.z_dim))
        defaults = {"dec_dim": self.dim, "latents_mean": mean, "latents_std": std, "out_channels": self.in_channels}
        for name, value in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        self._check_channels()
        self._check_statistics()

    def _check_sizes(self) -> None:
        if self.patch_size not in (1, 2):
            raise ValueError(f"patch_size is {self.patch_size}; it must be 1 (Wan 2.1) or 2 (Wan 2.2).")
        if not 1 <= len(self.dim_mult) <= _MOST_STAGES:
            raise ValueError(f"dim_mult has {len(self.dim_mult)} values; it must have 1 to {_MOST_STAGES}.")
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise ValueError(
                f"temporal_downsample has {len(self.temporal_downsample)} values; dim_mult {self.dim_mult} needs "
                f"{len(self.dim_mult) - 1}, one for each downsampling."
            )
        if not 1 <= self.num_res_blocks <= _MOST_BLOCKS:
            raise ValueError(f"num_res_blocks is {self.num_res_blocks}; it must be from 1 to {_MOST_BLOCKS}.")
        if not 1 <= self.z_dim <= _MOST_CHANNELS:
            raise ValueError(f"z_dim is {self.z_dim}; it must be from 1 to {_MOST_CHANNELS}.")
        for name, least in (("in_channels", 1), ("out_channels", 0)):
            if not least <= getattr(self, name) <= _MOST_IMAGE_CHANNELS:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 1 to {_MOST_IMAGE_CHANNELS}.")
        if not 1 <= self.upscale <= _LARGEST_UPSCALE or (self.upscale > 1 and self.patch_size > 1):
            raise ValueError(
                f"upscale is {self.upscale}; it must be from 1 to {_LARGEST_UPSCALE}, and 1 for Wan 2.2's VAE."
            )

    def _check_channels(self) -> None:
        """Check that every stage has channels, and that the layers between the stages can be built."""
        wrong = [dim for dim in (*self.encoder_dims, *self.decoder_dims) if not 1 <= dim <= _MOST_CHANNELS]
        if wrong:
            raise ValueError(
                f"a stage has {wrong[0]} channels (dim {self.dim}, dec_dim {self.dec_dim}, dim_mult {self.dim_mult}); "
                f"it must have from 1 to {_MOST_CHANNELS}."
            )
        if self.patch_size == 1:
            fits = all(dim % 2 == 0 for dim in self.decoder_dims[1:-1])  # each upsampling halves them
        else:
            factors = [4 * (1 + temporal) for temporal in self.temporal_downsample]
            down = zip(pairwise(self.encoder_dims), [*factors, 1], strict=True)
            up = zip(pairwise(self.decoder_dims[:-1]), factors[::-1], strict=True)
            fits = all(a * f % b == 0 for (a, b), f in down) and all(b * f % a == 0 for (a, b), f in up)
        if not fits:
            raise ValueError(
                f"the stages have {self.encoder_dims} and {self.decoder_dims} channels, between which "
                f"{self.variant} has no layers: take the numbers of a trained VAE."
            )

    def _check_statistics(self) -> None:
        for name, least in (("latents_mean", -_LARGEST_STATISTIC), ("latents_std", 1 / _LARGEST_STATISTIC)):
            values = getattr(self, name)
            if len(values) != self.z_dim:
                raise ValueError(f"{name} has {len(values)} values; z_dim {self.z_dim} needs as many.")
            wrong = [value for value in values if not least <= value <= _LARGEST_STATISTIC]
            if wrong:
                raise ValueError(f"{name} holds {wrong[0]:g}; it must be from {least:g} to {_LARGEST_STATISTIC:g}.")

    @property
    def variant(self) -> str:
        """``wan2.1`` or ``wan2.2``."""
        return "wan2.1" if self.patch_size == 1 else "wan2.2"

    @property
    def spatial_factor(self) -> int:
        """Spatial compression factor: pixels to one latent along the height and along the width, 8 or 16."""
        return self.patch_size * 2 ** (len(self.dim_mult) - 1)

    @property
    def output_factor(self) -> int:
        """Pixels of the decoded image to one latent along each side: ``spatial_factor``, or a multiple of it."""
        return self.spatial_factor * self.upscale

    @property
    def head_channels(self) -> int:
        """Channels that the decoder's last convolution gives."""
        return self.out_channels * (self.patch_size * self.upscale) ** 2

    @property
    def temporal_factor(self) -> int:
        """Temporal compression factor: frames to one latent frame after the first, 4."""
        return 2 ** sum(self.temporal_downsample)

    def shape_pixels(self, latent: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Return the shape (b, c, t', H, W) of what a latent (b, z, t, h, w) is decoded to."""
        batch, _, frames, height, width = latent
        factor = self.output_factor
        return batch, self.out_channels, 1 + (frames - 1) * self.temporal_factor, height * factor, width * factor

    @property
    def encoder_dims(self) -> list[int]:
        """Channels between the encoder's stages, from the pixels on."""
        return [self.dim * m for m in (1, *self.dim_mult)]

    @property
    def decoder_dims(self) -> list[int]:
        """Channels between the decoder's stages, from the latent on."""
        return [self.dec_dim * m for m in (self.dim_mult[-1], *reversed(self.dim_mult))]


WAN21 = WanVAEConfig()
"""Wan 2.1's VAE, which Wan 2.2 A14B and Qwen-Image use too: 16 channels, 8 pixels to a latent cell."""

WAN22 = WanVAEConfig(dim=160, dec_dim=256, z_dim=48, patch_size=2)
"""Wan 2.2's VAE, of TI2V 5B: 48 channels, 16 pixels to a latent cell."""
