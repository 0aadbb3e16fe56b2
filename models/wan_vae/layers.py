"""The parts of both Wan VAEs, for one frame: plain 2-D layers, differentiable, under the official names.

A causal 3-D convolution that sees one frame sees zeros before it, so only the last temporal slice of its kernel
acts: ``weight`` here *is* that slice. What a clip needs besides (``past``: the two earlier slices; ``time_conv``) is
absent until a clip is asked for. ``docs/notes/0001-image-vae-in-2d.md`` has the argument and its proof by test.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .config import WanVAEConfig

__all__ = [
    "Attention", "CausalConv", "Decoder", "DownLevel", "Downsample", "Encoder", "Head", "PixelNorm", "Residual",
    "TimeConv", "UpLevel", "Upsample", "avg_down", "dup_up", "patchify", "scaling", "unpatchify",
]  # fmt: skip


class PixelNorm(nn.Module):
    """Scale each pixel's channel vector to length ``sqrt(dim)`` and multiply by ``gamma``; a zero vector stays zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, ...) -> the same shape."""
        gain = self.gamma * self.gamma.numel() ** 0.5
        return F.normalize(x, dim=1) * gain.view(1, -1, *[1] * (x.ndim - 2))


class CausalConv(nn.Conv2d):
    """A causal 3x3x3 convolution: ``weight`` is its last temporal slice, ``past`` (2, o, i, 3, 3) the two before it."""

    past: nn.Parameter | None

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__(dim, out_dim, 3, padding=1)
        self.register_parameter("past", None)

    def add_past(self) -> None:
        """Make room for the two earlier temporal slices (zeros)."""
        past = torch.zeros_like(self.weight).unsqueeze(0).repeat(2, 1, 1, 1, 1)
        self.past = nn.Parameter(past, requires_grad=self.weight.requires_grad)


class TimeConv(nn.Module):
    """A (3, 1, 1) convolution over frames, nothing added around them; it never runs for a picture."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_dim, dim, 3, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_dim))

    def taps(self) -> tuple[Tensor, Tensor, Tensor]:
        """The 1x1 kernels for the frame before last, the frame before and the frame itself, (out, c, 1, 1) each."""
        before_last, before, now = (tap.contiguous() for tap in self.weight.squeeze(-1).unsqueeze(-1).unbind(2))
        return before_last, before, now


def _time_conv_like(conv: nn.Conv2d, out_dim: int) -> TimeConv:
    return TimeConv(conv.in_channels, out_dim).to(conv.weight).requires_grad_(conv.weight.requires_grad)


class Residual(nn.Module):
    """norm, SiLU, conv, twice, around a shortcut."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        first, second = CausalConv(dim, out_dim), CausalConv(out_dim, out_dim)
        self.residual = nn.ModuleDict({"0": PixelNorm(dim), "2": first, "3": PixelNorm(out_dim), "6": second})
        self.shortcut = nn.Conv2d(dim, out_dim, 1) if dim != out_dim else None

    def halves(self) -> tuple[tuple[PixelNorm, CausalConv], tuple[PixelNorm, CausalConv]]:
        """The two norm and convolution pairs in order."""
        norm1, conv1, norm2, conv2 = self.residual.values()
        pairs = (norm1, conv1), (norm2, conv2)
        return cast("tuple[tuple[PixelNorm, CausalConv], tuple[PixelNorm, CausalConv]]", pairs)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, out, h, w)."""
        y = x
        for norm, conv in self.halves():
            y = conv(F.silu(norm(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class Attention(nn.Module):
    """Self-attention over the pixels of a frame: one head, fused, so that memory grows with the pixels only."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = PixelNorm(dim)
        self.to_qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> the same shape."""
        qkv = rearrange(self.to_qkv(self.norm(x)), "b (k c) h w -> k b 1 (h w) c", k=3)
        y = F.scaled_dot_product_attention(*qkv.unbind(0))
        return x + self.proj(rearrange(y, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """Halve height and width: zeros on the right and below, then a convolution of stride 2."""

    def __init__(self, dim: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(dim, dim, 3, stride=2)})
        self.temporal = temporal
        self.time_conv: TimeConv | None = None

    @property
    def conv(self) -> nn.Conv2d:
        """The spatial convolution."""
        return cast("nn.Conv2d", self.resample["1"])

    def make_time_conv(self) -> TimeConv:
        """A convolution over frames, all zeros, as this layer's clips need it."""
        return _time_conv_like(self.conv, self.conv.in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width by repeating pixels, then a convolution."""

    def __init__(self, dim: int, out_dim: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(dim, out_dim, 3, padding=1)})
        self.temporal = temporal
        self.time_conv: TimeConv | None = None

    @property
    def conv(self) -> nn.Conv2d:
        """The spatial convolution."""
        return cast("nn.Conv2d", self.resample["1"])

    def make_time_conv(self) -> TimeConv:
        """A convolution over frames, all zeros, as this layer's clips need it."""
        return _time_conv_like(self.conv, 2 * self.conv.in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, out, 2h, 2w)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def avg_down(x: Tensor, out_dim: int, frames: int, size: int) -> Tensor:
    """Wan 2.2's shortcut around an encoder level: the mean over groups of (channel, frame, row, column) neighbours.

    Shapes: (b, c, t, h, w) -> (b, out_dim, ceil(t / frames), h / size, w / size); missing frames are zeros in front.
    """
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % frames, 0))
    x = rearrange(x, "b c (t f) (h p) (w q) -> b (c f p q) t h w", f=frames, p=size, q=size)
    return rearrange(x, "b (o g) t h w -> b o g t h w", o=out_dim).mean(2)


def dup_up(x: Tensor, out_dim: int, frames: int, size: int) -> Tensor:
    """Wan 2.2's shortcut around a decoder level: each value repeated over (channel, frame, row, column) neighbours.

    Shapes: (b, c, t, h, w) -> (b, out_dim, 1 + (t - 1) * frames, h * size, w * size): the first frame stays one frame.
    """
    x = x.repeat_interleave(out_dim * frames * size * size // x.shape[1], dim=1)
    x = rearrange(x, "b (o f p q) t h w -> b o (t f) (h p) (w q)", f=frames, p=size, q=size)
    return x[:, :, frames - 1 :]


class DownLevel(nn.Module):
    """One encoder level of Wan 2.2: residual blocks and a halving, with :func:`avg_down` around all of them."""

    def __init__(self, layers: list[nn.Module], out_dim: int) -> None:
        super().__init__()
        self.downsamples = nn.ModuleList(layers)
        self.out_dim = out_dim
        self.size, self.frames = scaling(layers[-1])

    @property
    def layers(self) -> nn.ModuleList:
        """The layers inside the shortcut, in order."""
        return self.downsamples

    def shortcut(self, x: Tensor) -> Tensor:
        """(b, c, t, h, w) -> (b, out, t', h', w')."""
        return avg_down(x, self.out_dim, self.frames, self.size)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, out, h', w')."""
        return _run(self.layers, x) + self.shortcut(x.unsqueeze(2)).squeeze(2)


class UpLevel(nn.Module):
    """One decoder level of Wan 2.2: residual blocks and a doubling, with :func:`dup_up` around all of them."""

    def __init__(self, layers: list[nn.Module], out_dim: int) -> None:
        super().__init__()
        self.upsamples = nn.ModuleList(layers)
        self.out_dim = out_dim
        self.size, self.frames = scaling(layers[-1])

    @property
    def layers(self) -> nn.ModuleList:
        """The layers inside the shortcut, in order."""
        return self.upsamples

    def shortcut(self, x: Tensor) -> Tensor:
        """(b, c, t, h, w) -> (b, out, t', h', w')."""
        return dup_up(x, self.out_dim, self.frames, self.size)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, out, h', w')."""
        y = _run(self.layers, x)
        return y if self.size == 1 else y + self.shortcut(x.unsqueeze(2)).squeeze(2)


class Head(nn.ModuleDict):
    """norm, SiLU, conv: the last step of the encoder and of the decoder."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__({"0": PixelNorm(dim), "2": CausalConv(dim, out_dim)})

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, out, h, w)."""
        return self["2"](F.silu(self["0"](x)))


class Encoder(nn.Module):
    """Pixels (patches for Wan 2.2) to mean and log-variance."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        dims = config.encoder_dims
        self.conv1 = CausalConv(3 * config.patch_size**2, dims[0])
        levels = [_encoder_level(config, i) for i in range(len(config.dim_mult))]
        if config.patch_size == 2:
            levels = [[DownLevel(level, dims[i + 1])] for i, level in enumerate(levels)]
        self.downsamples = nn.ModuleList([layer for level in levels for layer in level])
        self.middle = _middle(dims[-1])
        self.head = Head(dims[-1], 2 * config.z_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3 or 12, H, W) -> (b, 2 z, h, w)."""
        return self.head(self.middle(_run(self.downsamples, self.conv1(x))))


class Decoder(nn.Module):
    """Latent to pixels (patches for Wan 2.2)."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        dims = config.decoder_dims
        self.conv1 = CausalConv(config.z_dim, dims[0])
        self.middle = _middle(dims[0])
        levels = [_decoder_level(config, i) for i in range(len(config.dim_mult))]
        if config.patch_size == 2:
            levels = [[UpLevel(level, dims[i + 1])] for i, level in enumerate(levels)]
        self.upsamples = nn.ModuleList([layer for level in levels for layer in level])
        self.head = Head(dims[-1], 3 * config.patch_size**2)

    def forward(self, x: Tensor) -> Tensor:
        """(b, z, h, w) -> (b, 3 or 12, H, W)."""
        return self.head(_run(self.upsamples, self.middle(self.conv1(x))))


def _middle(dim: int) -> nn.Sequential:
    return nn.Sequential(Residual(dim, dim), Attention(dim), Residual(dim, dim))


def _encoder_level(config: WanVAEConfig, i: int) -> list[nn.Module]:
    dim, out_dim = config.encoder_dims[i : i + 2]
    widths = [dim] + [out_dim] * config.num_res_blocks
    layers: list[nn.Module] = [Residual(a, b) for a, b in pairwise(widths)]
    if i < len(config.temporal_downsample):
        layers.append(Downsample(out_dim, config.temporal_downsample[i]))
    return layers


def _decoder_level(config: WanVAEConfig, i: int) -> list[nn.Module]:
    dim, out_dim = config.decoder_dims[i : i + 2]
    halving = config.patch_size == 1  # Wan 2.1's doubling halves the channels; 2.2's keeps them
    if halving and i > 0:
        dim //= 2
    widths = [dim] + [out_dim] * (config.num_res_blocks + 1)
    layers: list[nn.Module] = [Residual(a, b) for a, b in pairwise(widths)]
    if i < len(config.temporal_downsample):
        temporal = config.temporal_downsample[::-1][i]
        layers.append(Upsample(out_dim, out_dim // 2 if halving else out_dim, temporal))
    return layers


def scaling(layer: nn.Module) -> tuple[int, int]:
    """By how much a layer or a level scales height and width, and the frames of a clip."""
    if isinstance(layer, (DownLevel, UpLevel)):
        return layer.size, layer.frames
    return (2, 2 if layer.temporal else 1) if isinstance(layer, (Downsample, Upsample)) else (1, 1)


def _run(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def patchify(x: Tensor, size: int) -> Tensor:
    """(b, c, H, W) -> (b, c * size * size, H / size, W / size); the column comes before the row in the channel."""
    return rearrange(x, "b c (h q) (w r) -> b (c r q) h w", q=size, r=size)


def unpatchify(x: Tensor, size: int) -> Tensor:
    """The inverse of :func:`patchify`."""
    return rearrange(x, "b (c r q) h w -> b c (h q) (w r)", q=size, r=size)
