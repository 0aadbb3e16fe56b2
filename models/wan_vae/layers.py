"""The layers of both Wan VAEs, for one frame: plain 2-D modules, differentiable, under the official names.

A causal 3-D convolution that sees one frame sees zeros before it, so only the last temporal slice of its kernel
acts: ``weight`` here *is* that slice. What a video needs besides (``past``: the two earlier slices; ``time_conv``) is
absent until a video is given. ``docs/notes/0001-image-vae-in-2d.md`` has the argument and its proof by test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .config import WanVAEConfig

_TINY = 1e-30  # added to the mean square: a zero vector stays zero, and float32 holds it

__all__ = [
    "Attention", "CausalConv", "Decoder", "DownStage", "Downsample", "Encoder", "Head", "PixelNorm", "Residual",
    "TimeConv", "UpStage", "Upsample", "activate", "arrange_pixels", "avg_down", "dup_up", "has_fused_norm", "patchify",
    "unpatchify",
]  # fmt: skip


class PixelNorm(nn.Module):
    """Scale each pixel's channel vector to length ``sqrt(dim)`` and multiply by ``gamma``; a zero vector stays zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (b, c, ...) to the same shape."""
        if has_fused_norm(x):
            return F.rms_norm(x.movedim(1, -1), self.gamma.shape, self.gamma, _TINY).movedim(-1, 1)
        gain = self.gamma * self.gamma.numel() ** 0.5
        exact = x.float() if x.dtype is torch.float16 else x  # whose squares may be beyond what it holds
        return F.normalize(exact, dim=1).to(x.dtype) * gain.view(1, -1, *[1] * (x.ndim - 2))


def has_fused_norm(x: Tensor) -> bool:
    """Whether one kernel normalises the channels of ``x`` in float32 and rounds once: on cards, from torch 2.8 on."""
    return x.device.type != "cpu" and hasattr(torch.ops.aten, "_fused_rms_norm")


def activate(norm: PixelNorm, x: Tensor) -> Tensor:
    """Return SiLU of the normalised ``x``, without a tensor for what lies between where no gradient wants it."""
    return F.silu(norm(x), inplace=not torch.is_grad_enabled())


class CausalConv(nn.Conv2d):
    """A causal 3x3x3 convolution: ``weight`` is its last temporal slice, ``past`` (2, o, i, 3, 3) the two before it."""

    past: nn.Parameter | None

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__(dim, out_dim, 3, padding=1)
        self.register_parameter("past", None)

    def add_past(self) -> None:
        """Add the two earlier temporal slices, zeros."""
        past = torch.zeros_like(self.weight).unsqueeze(0).repeat(2, 1, 1, 1, 1)
        self.past = nn.Parameter(past, requires_grad=self.weight.requires_grad)


class TimeConv(nn.Module):
    """A (3, 1, 1) convolution over frames, without padding; it never runs for one image."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_dim, dim, 3, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_dim))

    def split_slices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the 1x1 kernels for the frame before last, the one before and the frame itself, (out, c, 1, 1)."""
        before_last, before, now = (part.contiguous() for part in self.weight.squeeze(-1).unsqueeze(-1).unbind(2))
        return before_last, before, now


class Residual(nn.Module):
    """Norm, SiLU and convolution, twice, with a shortcut around them."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        first, second = CausalConv(dim, out_dim), CausalConv(out_dim, out_dim)
        self.residual = nn.ModuleDict({"0": PixelNorm(dim), "2": first, "3": PixelNorm(out_dim), "6": second})
        self.shortcut = nn.Conv2d(dim, out_dim, 1) if dim != out_dim else None

    def split_halves(self) -> tuple[tuple[PixelNorm, CausalConv], tuple[PixelNorm, CausalConv]]:
        """Return the two pairs of norm and convolution, in order."""
        norm1, conv1, norm2, conv2 = self.residual.values()
        pairs = (norm1, conv1), (norm2, conv2)
        return cast("tuple[tuple[PixelNorm, CausalConv], tuple[PixelNorm, CausalConv]]", pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, out, h, w)."""
        y = x
        for norm, conv in self.split_halves():
            y = conv(activate(norm, y))
        return y.add_(x if self.shortcut is None else self.shortcut(x))


class Attention(nn.Module):
    """Self-attention over the pixels of a frame: one head, fused, so that memory grows with the pixels only."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = PixelNorm(dim)
        self.to_qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over (b, c, h, w); the shape stays."""
        qkv = rearrange(self.to_qkv(self.norm(x)), "b (k c) h w -> k b 1 (h w) c", k=3)
        y = F.scaled_dot_product_attention(*qkv.unbind(0))
        return x + self.proj(rearrange(y, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Resampler(nn.Module):
    """A change of height and width by one convolution; with ``temporal``, the frames of a video change as well.

    Args:
        conv: The spatial convolution.
        temporal: Whether the frames of a video change.
    """

    time_factor: ClassVar[int] = 1
    """Output over input channels of the convolution over frames."""

    def __init__(self, conv: nn.Conv2d, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": conv})
        self.temporal = temporal
        self.time_conv: TimeConv | None = None

    @property
    def scale(self) -> tuple[int, int]:
        """Factors by which height and width, and the frames of a video, change."""
        return 2, 2 if self.temporal else 1

    @property
    def conv(self) -> nn.Conv2d:
        """The spatial convolution."""
        return cast("nn.Conv2d", self.resample["1"])

    def make_time_conv(self) -> TimeConv:
        """Return a convolution over frames, all zeros, as this layer needs it for videos."""
        dim, weight = self.conv.in_channels, self.conv.weight
        return TimeConv(dim, self.time_factor * dim).to(weight).requires_grad_(weight.requires_grad)


class Downsample(Resampler):
    """Halve height and width: zeros on the right and below, then a convolution of stride 2."""

    def __init__(self, dim: int, temporal: bool) -> None:
        super().__init__(nn.Conv2d(dim, dim, 3, stride=2), temporal)

    def forward(self, x: Tensor) -> Tensor:
        """Downsample (b, c, H, W) to (b, c, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(Resampler):
    """Double height and width by nearest upsampling, then a convolution."""

    time_factor = 2

    def __init__(self, dim: int, out_dim: int, temporal: bool) -> None:
        super().__init__(nn.Conv2d(dim, out_dim, 3, padding=1), temporal)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample (b, c, h, w) to (b, out, 2h, 2w)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def avg_down(x: Tensor, out_dim: int, frames: int, size: int, is_first: bool = True) -> Tensor:
    """Average groups of (channel, frame, row, column) neighbours: Wan 2.2's shortcut around an encoder stage.

    Args:
        x: (b, c, t, h, w).
        out_dim: Channels of the result.
        frames: Neighbouring frames in a group; missing frames are zeros in front.
        size: Neighbouring rows, and columns, in a group.
        is_first: Whether the first frame here is the video's; later frames always come in whole groups.

    Shapes:
        (b, c, t, h, w) -> (b, out_dim, ceil(t / frames), h / size, w / size).
    """
    if is_first and frames > 1:
        x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % frames, 0))
    x = rearrange(x, "b c (t f) (h p) (w q) -> b (c f p q) t h w", f=frames, p=size, q=size)
    return rearrange(x, "b (o g) t h w -> b o g t h w", o=out_dim).mean(2)


def dup_up(x: Tensor, out_dim: int, frames: int, size: int, is_first: bool = True) -> Tensor:
    """Repeat each value over (channel, frame, row, column) neighbours: Wan 2.2's shortcut around a decoder stage.

    Args:
        x: (b, c, t, h, w).
        out_dim: Channels of the result.
        frames: Frames that one becomes; the first frame stays one frame.
        size: Rows, and columns, that one becomes.
        is_first: Whether the first frame here is the video's.

    Shapes:
        (b, c, t, h, w) -> (b, out_dim, 1 + (t - 1) * frames, h * size, w * size); t * frames without the first.
    """
    x = x.repeat_interleave(out_dim * frames * size * size // x.shape[1], dim=1)
    x = rearrange(x, "b (o f p q) t h w -> b o (t f) (h p) (w q)", f=frames, p=size, q=size)
    return x[:, :, frames - 1 :] if is_first else x


class Stage(nn.Module):
    """One resolution stage of Wan 2.2: residual blocks and a change of size, with a shortcut around them.

    Args:
        name: Of the list of layers in the checkpoint.
        layers: In order, the last of them changes the size.
        out_dim: Channels of the result.
        resample: The shortcut, :func:`avg_down` or :func:`dup_up`.
    """

    def __init__(self, name: str, layers: list[nn.Module], out_dim: int, resample: Callable[..., Tensor]) -> None:
        super().__init__()
        self.add_module(name, nn.ModuleList(layers))
        self.name, self.out_dim, self.resample = name, out_dim, resample
        self.scale = _read_scale(layers[-1])

    @property
    def layers(self) -> nn.ModuleList:
        """The layers inside the shortcut, in order."""
        return cast("nn.ModuleList", self.get_submodule(self.name))

    def shortcut(self, x: Tensor, is_first: bool = True) -> Tensor:
        """Map (b, c, t, h, w) to (b, out, t', h', w'); ``is_first``: its first frame is the video's."""
        size, frames = self.scale
        return self.resample(x, self.out_dim, frames, size, is_first)


class DownStage(Stage):
    """A stage of the encoder, with :func:`avg_down` around."""

    def __init__(self, layers: list[nn.Module], out_dim: int) -> None:
        super().__init__("downsamples", layers, out_dim, avg_down)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, out, h', w')."""
        return _run(self.layers, x) + self.shortcut(x.unsqueeze(2)).squeeze(2)


class UpStage(Stage):
    """A stage of the decoder, with :func:`dup_up` around."""

    def __init__(self, layers: list[nn.Module], out_dim: int) -> None:
        super().__init__("upsamples", layers, out_dim, dup_up)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, out, h', w')."""
        y = _run(self.layers, x)
        return y if self.scale == (1, 1) else y + self.shortcut(x.unsqueeze(2)).squeeze(2)


class Head(nn.ModuleDict):
    """Norm, SiLU and convolution: the last step of the encoder and of the decoder."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__({"0": PixelNorm(dim), "2": CausalConv(dim, out_dim)})

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, out, h, w)."""
        return self["2"](activate(cast("PixelNorm", self["0"]), x))


class _Network(nn.Module):
    """What encoder and decoder share: local layers, a middle block with attention, local layers."""

    conv1: CausalConv
    middle: nn.Sequential
    head: Head

    @property
    def layers(self) -> list[nn.Module]:
        """All layers in the order in which they run."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Run all layers on (b, c, h, w)."""
        return _run(self.layers, x)


class Encoder(_Network):
    """Pixels (patches for Wan 2.2) to mean and log-variance: (b, 3 or 12, H, W) -> (b, 2 z, h, w)."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        dims = config.encoder_dims
        self.conv1 = CausalConv(config.in_channels * config.patch_size**2, dims[0])
        stages = [_make_encoder_stage(config, i) for i in range(len(config.dim_mult))]
        if config.patch_size == 2:
            stages = [[DownStage(stage, dims[i + 1])] for i, stage in enumerate(stages)]
        self.downsamples = nn.ModuleList([layer for stage in stages for layer in stage])
        self.middle = _make_middle(dims[-1])
        self.head = Head(dims[-1], 2 * config.z_dim)

    @property
    def layers(self) -> list[nn.Module]:
        """All layers in the order in which they run."""
        return [self.conv1, *self.downsamples, *self.middle, self.head]


class Decoder(_Network):
    """Latent to pixels (patches for Wan 2.2): (b, z, h, w) -> (b, 3 or 12, H, W)."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        dims = config.decoder_dims
        self.conv1 = CausalConv(config.z_dim, dims[0])
        self.middle = _make_middle(dims[0])
        stages = [_make_decoder_stage(config, i) for i in range(len(config.dim_mult))]
        if config.patch_size == 2:
            stages = [[UpStage(stage, dims[i + 1])] for i, stage in enumerate(stages)]
        self.upsamples = nn.ModuleList([layer for stage in stages for layer in stage])
        self.head = Head(dims[-1], config.head_channels)

    @property
    def layers(self) -> list[nn.Module]:
        """All layers in the order in which they run."""
        return [self.conv1, *self.middle, *self.upsamples, self.head]


def _make_middle(dim: int) -> nn.Sequential:
    return nn.Sequential(Residual(dim, dim), Attention(dim), Residual(dim, dim))


def _make_encoder_stage(config: WanVAEConfig, i: int) -> list[nn.Module]:
    dim, out_dim = config.encoder_dims[i : i + 2]
    widths = [dim] + [out_dim] * config.num_res_blocks
    layers: list[nn.Module] = [Residual(a, b) for a, b in pairwise(widths)]
    if i < len(config.temporal_downsample):
        layers.append(Downsample(out_dim, config.temporal_downsample[i]))
    return layers


def _make_decoder_stage(config: WanVAEConfig, i: int) -> list[nn.Module]:
    dim, out_dim = config.decoder_dims[i : i + 2]
    halves_channels = config.patch_size == 1  # Wan 2.1's upsampling does; 2.2's keeps them
    if halves_channels and i > 0:
        dim //= 2
    widths = [dim] + [out_dim] * (config.num_res_blocks + 1)
    layers: list[nn.Module] = [Residual(a, b) for a, b in pairwise(widths)]
    if i < len(config.temporal_downsample):
        temporal = config.temporal_downsample[::-1][i]
        layers.append(Upsample(out_dim, out_dim // 2 if halves_channels else out_dim, temporal))
    return layers


def _read_scale(layer: nn.Module) -> tuple[int, int]:
    return layer.scale if isinstance(layer, Resampler) else (1, 1)


def _run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def patchify(x: Tensor, size: int) -> Tensor:
    """Move ``size`` x ``size`` pixels into the channels, the column before the row.

    Shapes:
        (b, c, H, W) -> (b, c * size * size, H / size, W / size).
    """
    return rearrange(x, "b c (h q) (w r) -> b (c r q) h w", q=size, r=size)


def unpatchify(x: Tensor, size: int) -> Tensor:
    """Undo :func:`patchify`."""
    return rearrange(x, "b (c r q) h w -> b c (h q) (w r)", q=size, r=size)


def arrange_pixels(x: Tensor, config: WanVAEConfig) -> Tensor:
    """Move what the decoder gives into its place: patches of Wan 2.2, or a larger image's pixels (pixel shuffle).

    Shapes:
        (b, head_channels, h, w) -> (b, out_channels, H, W).
    """
    return F.pixel_shuffle(x, config.upscale) if config.upscale > 1 else unpatchify(x, config.patch_size)
