"""The Wan VAE as a VAE object of the host: what core's own nodes, and everybody else's, can encode and decode with.

It is the host's class with the host's surface; encoding and decoding are ours. LATENTs are core's: raw mu, the mean and
std belong to the model's latent format.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from einops import rearrange
from torch import Tensor

from ..models.wan_vae import WanVAE, official_state_dict
from .host import Progress, to_image

# Bytes of working memory for each pixel and byte of precision, one still, untiled: measured with benchmarks/vae.py.
_BYTES_PER_PIXEL = {"wan2.1": 600, "wan2.2": 700}
_CLIP_FACTOR = 3


class HostVAE(comfy.sd.VAE):
    """A :class:`WanVAE` where the host wants a VAE.

    Pictures are encoded and decoded one at a time, so a batch gives what its items give; clips go through the causal
    path. Core's tiled nodes set how large the pieces are; the result is the untiled one.
    """

    def __init__(self, vae: WanVAE, dtype: torch.dtype) -> None:  # the host's own builds a module from a file
        config, space, frames = vae.config, vae.config.spatial_factor, vae.config.temporal_factor
        self.first_stage_model = vae
        self.vae_dtype = dtype
        self.device = comfy.model_management.vae_device()
        self.output_device = comfy.model_management.intermediate_device()
        self.patcher = self._new_patcher()
        self.upscale_ratio = (lambda t: max(0, t * frames - frames + 1), space, space)
        self.downscale_ratio = (lambda t: max(0, (t + frames - 1) // frames), space, space)
        self.upscale_index_formula = self.downscale_index_formula = (frames, space, space)
        self.latent_channels, self.latent_dim, self.output_channels = config.z_dim, 3, 3
        self.memory_used_decode = lambda shape, dtype: self._memory(shape[2], shape[3] * shape[4] * space**2, dtype)
        self.memory_used_encode = lambda shape, dtype: self._memory(shape[2], shape[3] * shape[4], dtype)
        self.process_input = lambda image: image * 2.0 - 1.0
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.working_dtypes = [torch.bfloat16, torch.float16, torch.float32]
        self.disable_offload = self.handles_tiling = self.crop_input = True
        self.not_video = False
        self.size = self.pad_channel_value = self.extra_1d_channel = self.format_encoded = None
        self.audio_sample_rate = 44100

    # What the host and its nodes call ----------------------------------------------------------------------------

    def decode(self, samples_in: Tensor, vae_options: dict[str, Any] | None = None) -> Tensor:
        """LATENT (b, c, t, h, w) -> frames (b, t', H, W, 3) in [0, 1]."""
        return self.decode_within(samples_in, self.free_memory())

    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """The same as :meth:`decode`, in pieces for which the memory of one such tile is enough."""
        sides = (tile_y or samples.shape[-2], tile_x or samples.shape[-1])
        return self.decode_within(samples, self.memory_used_decode((1, 1, 1, *sides), self.vae_dtype))

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """IMAGE (t, H, W, 3), one clip as core has it, or (b, t, H, W, 3) -> LATENT (b, c, t', h, w)."""
        return self.encode_within(self._clips(pixel_samples), self.free_memory())

    def encode_tiled(
        self,
        pixel_samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """The same as :meth:`encode`, in pieces for which the memory of one such tile is enough."""
        sides = (tile_y or pixel_samples.shape[-3], tile_x or pixel_samples.shape[-2])
        return self.encode_within(
            self._clips(pixel_samples), self.memory_used_encode((1, 3, 1, *sides), self.vae_dtype)
        )

    def get_sd(self) -> dict[str, Tensor]:
        """The weights under the official names, for core's VAESave."""
        return official_state_dict(self.first_stage_model)

    # What our nodes call -----------------------------------------------------------------------------------------

    def decode_within(self, latent: Tensor, budget: int | None) -> Tensor:
        """LATENT (b, c, t, h, w) or (b, c, h, w) -> frames (b, t', H, W, 3) in [0, 1].

        Args:
            budget: bytes of working memory; None decodes in one piece.

        Raises:
            ValueError: the latent belongs to another VAE.
        """
        latent = latent if latent.ndim == 5 else latent.unsqueeze(2)
        self._check_channels(latent)
        budget = self._load(latent.shape[2] > 1, self.memory_used_decode(latent.shape, self.vae_dtype), budget)
        progress, vae, frames = Progress(), self.first_stage_model, []
        for i, item in enumerate(latent.split(1)):
            progress(i, len(latent))
            pixels = vae.decode_raw(item.to(self.device), tiling=budget, on_piece=progress.part(i, len(latent)))
            frames.append(rearrange(to_image(pixels), "t h w c -> 1 t h w c"))
        return torch.cat(frames).to(self.output_device, self.vae_output_dtype())

    def encode_within(self, pixels: Tensor, budget: int | None) -> Tensor:
        """Pixels (b, 3, t, H, W) in [-1, 1] -> LATENT (b, c, t', h, w); ``budget`` as in :meth:`decode_within`."""
        budget = self._load(pixels.shape[2] > 1, self.memory_used_encode(pixels.shape, self.vae_dtype), budget)
        progress, vae, latents = Progress(), self.first_stage_model, []
        for i, item in enumerate(pixels.split(1)):
            progress(i, len(pixels))
            latents.append(vae.encode_raw(item.to(self.device), tiling=budget, on_piece=progress.part(i, len(pixels))))
        return torch.cat(latents).to(self.output_device, self.vae_output_dtype())

    def _clips(self, image: Tensor) -> Tensor:
        """IMAGE -> pixels (b, 3, t, H, W), cut at the edges to whole latent cells as core does."""
        image = image if image.ndim == 5 else image.unsqueeze(0)
        cell = self.first_stage_model.config.spatial_factor
        for axis in (2, 3):
            length = image.shape[axis] // cell * cell
            image = image.narrow(axis, image.shape[axis] % cell // 2, length)
        return self.process_input(rearrange(image[..., :3], "b t h w c -> b c t h w"))

    def _check_channels(self, latent: Tensor) -> None:
        if latent.shape[1] == self.latent_channels:
            return
        kinds = {16: "the Wan 2.1 VAE (which Wan 2.2 A14B uses too)", 48: "the Wan 2.2 VAE (Wan 2.2 TI2V-5B)"}
        other = kinds.get(latent.shape[1], "another model")
        raise ValueError(
            f"samples has {latent.shape[1]} channels, but this is {kinds.get(self.latent_channels, 'a VAE')} with "
            f"{self.latent_channels}; the latent belongs to {other}. Load the VAE of the model that made the latent."
        )

    def _memory(self, frames: int, pixels: int, dtype: torch.dtype) -> int:
        per_pixel = _BYTES_PER_PIXEL[self.first_stage_model.config.variant] * (1 if frames == 1 else _CLIP_FACTOR)
        return int(per_pixel * pixels * comfy.model_management.dtype_size(dtype))

    def free_memory(self) -> int:
        """What a piece may use at most: all that the device can be made to free."""
        return int(comfy.model_management.get_total_memory(self.device) * 0.8)

    def _load(self, clip: bool, needed: int, budget: int | None) -> int | None:
        """Bring the weights to the device with room to work, and return the budget that is really there."""
        if clip and not self.first_stage_model.has_clip_weights:
            self.patcher.detach()
            self.first_stage_model.add_clip_weights()
            self.patcher, self.size = self._new_patcher(), None
        required = needed if budget is None else min(needed, budget)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=required, force_full_load=True)
        if budget is None:
            return None
        return min(budget, int(comfy.model_management.get_free_memory(self.device) * 0.9))

    def _new_patcher(self) -> comfy.model_patcher.ModelPatcher:
        offload = comfy.model_management.vae_offload_device()
        return comfy.model_patcher.ModelPatcher(self.first_stage_model, load_device=self.device, offload_device=offload)
