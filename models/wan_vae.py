"""The Wan 2.1 and Wan 2.2 VAEs: pictures in 2-D with a third of the arithmetic, clips through the causal 3-D path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .wan_vae_config import WAN21, WAN22, WanVAEConfig
from .wan_vae_files import VAEFile, fill, fill_clip_weights, official_state_dict, write
from .wan_vae_layers import CausalConv, Decoder, Downsample, Encoder, Upsample

__all__ = ["WAN21", "WAN22", "WanVAE", "WanVAEConfig", "load_wan_vae", "official_state_dict", "save_wan_vae"]


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

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels to normalised latents, ``(mu - mean) / std``; the log-variance is not used, as in the official code.

        Shapes: pixels (b, 3, t, H, W) in [-1, 1] -> (b, c, t', h, w), float32.

        Source: Wan-Video/Wan2.2 ``vae2_1.py``, ``vae2_2.py``: ``WanVAE_.encode``.
        """
        mean, std = self._statistics()
        return (self.encode_raw(pixels) - mean) / std

    def decode(self, z: Tensor, *, clamp: bool = True) -> Tensor:
        """Normalised latents to pixels.

        Shapes: (b, c, t, h, w) -> (b, 3, t', H, W), float32, clamped to [-1, 1] unless ``clamp`` is False.

        Source: Wan-Video/Wan2.2 ``vae2_1.py``, ``vae2_2.py``: ``WanVAE_.decode``.
        """
        mean, std = self._statistics()
        return self.decode_raw(z.float() * std + mean, clamp=clamp)

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """:meth:`encode` without the statistics: raw mu, which is what ComfyUI's LATENT carries."""
        x = rearrange(pixels.to(self.conv1.weight.dtype), "b c 1 h w -> b c h w")
        x = _patchify(x, self.config.patch_size)
        x = self.encoder(x.contiguous(memory_format=torch.channels_last))
        z = self.config.z_dim
        return F.conv2d(x, self.conv1.weight[:z], self.conv1.bias[:z]).float().unsqueeze(2)

    def decode_raw(self, z: Tensor, *, clamp: bool = True) -> Tensor:
        """:meth:`decode` without the statistics: from raw mu, which is what ComfyUI's LATENT carries."""
        x = rearrange(z.to(self.conv2.weight.dtype), "b c 1 h w -> b c h w")
        x = self.decoder(self.conv2(x.contiguous(memory_format=torch.channels_last)))
        x = _unpatchify(x, self.config.patch_size).float().unsqueeze(2)
        return x.clamp(-1, 1) if clamp else x

    def _statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.latents_mean.float().view(shape), self.latents_std.float().view(shape)


def _patchify(x: Tensor, size: int) -> Tensor:
    """(b, c, H, W) -> (b, c * size * size, H / size, W / size); the column comes before the row in the channel."""
    return rearrange(x, "b c (h q) (w r) -> b (c r q) h w", q=size, r=size)


def _unpatchify(x: Tensor, size: int) -> Tensor:
    return rearrange(x, "b (c r q) h w -> b c (h q) (w r)", q=size, r=size)


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
