"""The Wan 2.1 and Wan 2.2 VAEs: pictures in 2-D with a third of the arithmetic, clips through the causal 3-D path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from .config import WAN21, WAN22, WanVAEConfig
from .layers import CausalConv, Decoder, Downsample, Encoder, Upsample, patchify, unpatchify
from .loading import VAEFile, fill, fill_clip_weights, official_state_dict, write
from .streaming.run import decode_pieces, encode_pieces
from .tiling import OnPiece, Tiling
from .validation import check_latent, check_pixels, pad_frames

__all__ = ["WAN21", "WAN22", "Tiling", "WanVAE", "WanVAEConfig", "load_wan_vae", "official_state_dict", "save_wan_vae"]


class WanVAE(nn.Module):
    """A Wan VAE of any width, trainable; without ``clips`` it holds only the 2-D weights that pictures need.

    Args:
        config: its shape; ``WAN21`` and ``WAN22`` are the real ones.
        clips: also hold the weights that only clips need (2.8 times as many).
    """

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, config: WanVAEConfig = WAN21, clips: bool = False) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.conv1 = nn.Conv2d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = nn.Conv2d(config.z_dim, config.z_dim, 1)
        self.register_buffer("latents_mean", torch.tensor(config.latents_mean), persistent=False)
        self.register_buffer("latents_std", torch.tensor(config.latents_std), persistent=False)
        self.source: VAEFile | None = None
        if clips:
            self.add_clip_weights()

    def time_resamplers(self) -> Iterator[tuple[str, Downsample | Upsample]]:
        """The layers, by name, that change the number of frames of a clip."""
        for name, module in self.named_modules():
            if isinstance(module, (Downsample, Upsample)) and module.temporal:
                yield name, module

    @property
    def has_clip_weights(self) -> bool:
        """Whether the weights that only clips need are in memory."""
        return self.encoder.conv1.past is not None

    def add_clip_weights(self) -> None:
        """Bring the weights that only clips need into memory: from the file this VAE came from, else zeros."""
        for module in self.modules():
            if isinstance(module, CausalConv):
                module.add_past()
        for _, resampler in self.time_resamplers():
            resampler.time_conv = resampler.make_time_conv()
        if self.source is not None:
            with torch.no_grad():
                fill_clip_weights(self, self.source)

    def encode(
        self, pixels: Tensor, *, tiling: Tiling | None = None, on_piece: OnPiece | None = None, pad: str | None = None
    ) -> Tensor:
        """Pixels to normalised latents, ``(mu - mean) / std``; the log-variance is not used, as in the official code.

        Shapes: pixels (b, 3, t, H, W) in [-1, 1] -> (b, c, t', h, w), float32.

        Args:
            tiling: in which pieces a picture is done; it never changes the numbers (None: auto).
            on_piece: called with (rows done, all rows) after each piece.
            pad: what to do with a clip whose length is not 4n+1: None refuses it, ``repeat`` repeats its last frame,
                ``reflect`` plays it backwards from there.

        Raises:
            ValueError: wrong shape or dtype, or a height or width that the VAE cannot halve often enough.

        Source: Wan-Video/Wan2.2 ``vae2_1.py``, ``vae2_2.py``: ``WanVAE_.encode``.
        """
        mean, std = self._statistics()
        return (self.encode_raw(pixels, tiling=tiling, on_piece=on_piece, pad=pad) - mean) / std

    def decode(
        self, z: Tensor, *, tiling: Tiling | None = None, clamp: bool = True, on_piece: OnPiece | None = None
    ) -> Tensor:
        """Normalised latents to pixels.

        Shapes: (b, c, t, h, w) -> (b, 3, t', H, W), float32, clamped to [-1, 1] unless ``clamp`` is False.

        Args:
            tiling, on_piece: as in :meth:`encode`.

        Raises:
            ValueError: wrong shape or dtype, or another number of channels than this VAE's latents have.

        Source: Wan-Video/Wan2.2 ``vae2_1.py``, ``vae2_2.py``: ``WanVAE_.decode``.
        """
        check_latent(z, self.config)
        mean, std = self._statistics()
        return self.decode_raw(z.float() * std + mean, tiling=tiling, clamp=clamp, on_piece=on_piece)

    def encode_raw(
        self, pixels: Tensor, *, tiling: Tiling | None = None, on_piece: OnPiece | None = None, pad: str | None = None
    ) -> Tensor:
        """:meth:`encode` without the statistics: raw mu, which is what ComfyUI's LATENT carries."""
        check_pixels(pixels, self.config, pad)
        pixels = pad_frames(pixels, self.config, pad)
        if self._needs_grad(pixels):
            x = patchify(pixels.to(self.conv1.weight).squeeze(2), self.config.patch_size)
            x = self.encoder(x.contiguous(memory_format=torch.channels_last)).unsqueeze(2)
        else:
            x = encode_pieces(self, pixels, tiling or Tiling(), on_piece)
        return _pointwise(x, self.conv1, self.config.z_dim).float()

    def decode_raw(
        self, z: Tensor, *, tiling: Tiling | None = None, clamp: bool = True, on_piece: OnPiece | None = None
    ) -> Tensor:
        """:meth:`decode` without the statistics: from raw mu, which is what ComfyUI's LATENT carries."""
        check_latent(z, self.config)
        x = _pointwise(z.to(self.conv2.weight), self.conv2, self.config.z_dim)
        if self._needs_grad(z):
            y = self.decoder(x.squeeze(2).contiguous(memory_format=torch.channels_last))
            y = unpatchify(y, self.config.patch_size).float().unsqueeze(2)
            return y.clamp(-1, 1) if clamp else y
        y = decode_pieces(self, x, tiling or Tiling(), on_piece)
        return y.clamp_(-1, 1) if clamp else y

    def _needs_grad(self, x: Tensor) -> bool:
        """Whether the differentiable form must run; and bring the weights for clips in where ``x`` is one."""
        wanted = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))
        if x.shape[2] == 1:
            return wanted
        if wanted:
            raise ValueError(
                f"a clip of {x.shape[2]} frames was given where a gradient is wanted; clips have none here: "
                "train on single frames, or run it under torch.no_grad()."
            )
        if not self.has_clip_weights:
            if self.source is None:
                raise ValueError(
                    f"a clip of {x.shape[2]} frames was given to a VAE that holds the weights for pictures only; "
                    "load it with clips=True, or give one frame at a time."
                )
            self.add_clip_weights()
        return False

    def _statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.latents_mean.float().view(shape), self.latents_std.float().view(shape)


def _pointwise(x: Tensor, conv: nn.Conv2d, channels: int) -> Tensor:
    """The first channels of a 1x1 convolution over (b, c, t, h, w), item by item: no batch mate changes a digit."""
    weight, bias = conv.weight[:channels].flatten(1), cast("Tensor", conv.bias)[:channels]
    items = [torch.einsum("bcthw,oc->bothw", item, weight) for item in x.split(1)]
    return torch.cat(items) + bias.view(1, -1, 1, 1, 1)


def load_wan_vae(
    path: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    *,
    clips: bool | None = None,
) -> WanVAE:
    """Load a Wan VAE from any layout in circulation.

    Args:
        path: official ``.pth`` or ``.safetensors`` (also ComfyUI's), a diffusers file, or a diffusers folder.
        dtype: precision of weights and arithmetic; None: bfloat16 on a GPU that has it, else float32.
        clips: True loads the weights that only clips need, too; None loads them when a clip is first asked for;
            False never (a clip is then refused).

    Raises:
        CheckpointError: the file is missing, damaged, not a Wan VAE, incomplete, or holds NaN.
    """
    file = VAEFile(path)
    with torch.device("meta"):
        vae = WanVAE(file.config, clips=bool(clips))
    vae = vae.to_empty(device="cpu").to(dtype or _precision_of(torch.device(device)))
    vae.latents_mean = torch.tensor(file.config.latents_mean)
    vae.latents_std = torch.tensor(file.config.latents_std)
    fill(vae, file)
    if clips is None:
        vae.source = file
    vae.requires_grad_(False).eval()
    return vae.to(device)


def save_wan_vae(
    vae: WanVAE, path: str | os.PathLike[str], layout: str = "official", metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a Wan VAE so that the official code, ComfyUI (``official``) or diffusers (``diffusers``) loads it.

    Args:
        path: ``.safetensors`` or ``.pth``; for ``diffusers`` also a folder (no suffix), which gets a ``config.json``.
        metadata: string table for the header of a ``.safetensors`` file.

    Returns:
        The file that holds the weights.

    Raises:
        ValueError: ``layout`` is neither of the two.
    """
    if layout not in ("official", "diffusers"):
        raise ValueError(f"layout is {layout!r}; it must be 'official' or 'diffusers'.")
    if vae.source is not None and not vae.has_clip_weights:
        vae.add_clip_weights()
    return write(vae, Path(path), layout, metadata)


def _precision_of(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
