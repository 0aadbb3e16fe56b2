"""The Wan VAE as a VAE object of the host, with which core's own nodes, and other packs', can encode and decode.

It is the host's class with the host's surface; encoding and decoding are ours. LATENTs are core's: raw mu; the mean and
std belong to the model's latent format.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from einops import rearrange
from torch import Tensor

from ...models.finite import check_finite
from ...models.wan_vae import Tiling, WanVAE, official_state_dict
from ...models.wan_vae.feature_map import FeatureMapSize
from ...models.wan_vae.layers import Decoder, Encoder
from ...models.wan_vae.memory import describe_shortage, estimate_memory
from ...models.wan_vae.validation import check_latent, check_range
from ...pipeline.pictures.convert import to_signed
from .card.float32 import full_float32
from .card.whole import WholePatcher
from .cpu.threads import count_decoder, count_encoder, fit_threads
from .progress import Progress, show_sentence

log = logging.getLogger(__name__)


class HostVAE(comfy.sd.VAE):
    """A :class:`WanVAE` where the host wants a VAE.

    A batch gives what its items give. Core's tiled nodes set how large the chunks are; the result is the untiled one.
    """

    def __init__(self, vae: WanVAE, dtype: torch.dtype) -> None:  # the host's own builds a module from a file
        config, space, frames = vae.config, vae.config.spatial_factor, vae.config.temporal_factor
        self.first_stage_model = vae
        self.vae_dtype = dtype
        self.device = comfy.model_management.vae_device()
        self.output_device = comfy.model_management.intermediate_device()
        self.patcher = self._new_patcher()
        self._use_layout()
        larger = config.output_factor
        self.upscale_ratio = (lambda t: max(0, t * frames - frames + 1), larger, larger)
        self.downscale_ratio = (lambda t: max(0, (t + frames - 1) // frames), space, space)
        self.upscale_index_formula, self.downscale_index_formula = (frames, larger, larger), (frames, space, space)
        self.latent_channels, self.latent_dim, self.output_channels = config.z_dim, 3, config.out_channels
        self.memory_used_decode = lambda shape, dtype: self._estimate(vae.decoder, shape, 1)
        self.memory_used_encode = lambda shape, dtype: self._estimate(vae.encoder, shape, config.patch_size)
        self.process_input = to_signed
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.working_dtypes = [torch.bfloat16, torch.float16, torch.float32]
        self.disable_offload = self.handles_tiling = self.crop_input = True
        self.not_video = False
        self.pad_channel_value = 1.0
        self.size = self.extra_1d_channel = self.format_encoded = None
        self.audio_sample_rate = 44100

    # What the host and its nodes call

    def decode(self, samples_in: Tensor, vae_options: dict[str, Any] | None = None) -> Tensor:
        """Decode a LATENT (b, c, t, h, w) to frames (b, t', H, W, 3) in [0, 1]."""
        return self.decode_latent(samples_in, Tiling())

    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """Decode as :meth:`decode`, in chunks for which the memory of one such tile is enough."""
        tile = (1, 1, 1, tile_y or samples.shape[-2], tile_x or samples.shape[-1])
        return self.decode_latent(samples, _make_budget(self.memory_used_decode(tile, self.vae_dtype)))

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """Encode an IMAGE (t, H, W, 3), one video as core has it, or (b, t, H, W, 3), to a LATENT (b, c, t', h, w)."""
        return self.encode_pixels(self._fit_videos(pixel_samples), Tiling())

    def encode_tiled(  # core's signature, as decode_tiled has it
        self,
        pixel_samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """Encode as :meth:`encode`, in chunks for which the memory of one such tile is enough."""
        tile = (1, 3, 1, tile_y or pixel_samples.shape[-3], tile_x or pixel_samples.shape[-2])
        tiling = _make_budget(self.memory_used_encode(tile, self.vae_dtype))
        return self.encode_pixels(self._fit_videos(pixel_samples), tiling)

    def get_sd(self) -> dict[str, Tensor]:
        """Return the weights under the official names, for core's VAESave."""
        return official_state_dict(self.first_stage_model)

    # What our nodes call

    def decode_latent(self, latent: Tensor, tiling: Tiling) -> Tensor:
        """Decode a LATENT to frames.

        Args:
            latent: (b, c, t, h, w) or (b, c, h, w).
            tiling: The chunks.

        Returns:
            (b, t', H, W, 3) in [0, 1].

        Raises:
            ValueError: The latent belongs to another VAE.
            NonFiniteError: A pixel is NaN or infinite.
        """
        latent = latent.unsqueeze(2) if latent.ndim == 4 else latent
        check_latent(latent, self.first_stage_model.config)  # before the weights are loaded for it
        self._load_weights(latent.shape[2] > 1, self.memory_used_decode(latent.shape, self.vae_dtype))
        config = self.first_stage_model.config
        batch, channels, *size = config.shape_pixels(latent.shape)
        frames = torch.empty(batch, *size, channels, device=self.output_device, dtype=self._output_dtype())
        pixel_count = latent.shape[3] * latent.shape[4] * config.spatial_factor**2
        with fit_threads(count_decoder(config.dec_dim, latent.shape[2], pixel_count)), full_float32(self.vae_dtype):
            self.first_stage_model.decode_raw(
                latent.to(self.device),
                tiling=tiling,
                clamp=False,
                on_progress=Progress(),
                out=rearrange(frames, "b t h w c -> b c t h w"),
            )
        return self.process_output(frames)

    def decode_frames(self, latent: Tensor, tiling: Tiling) -> Iterator[Tensor]:
        """Decode a LATENT and yield frames (b, t, H, W, 3) in [0, 1] as they are done, in float32 on the CPU.

        Args:
            latent: (b, c, t, h, w) or (b, c, h, w).
            tiling: The chunks.

        Raises:
            ValueError: The latent belongs to another VAE.
            NonFiniteError: A pixel is NaN or infinite.
        """
        latent = latent.unsqueeze(2) if latent.ndim == 4 else latent
        check_latent(latent, self.first_stage_model.config)
        self._load_weights(latent.shape[2] > 1, self.memory_used_decode(latent.shape, self.vae_dtype))
        found = self.first_stage_model.decode_frames(
            latent.to(self.device), tiling=tiling, clamp=False, on_progress=Progress(), raw=True
        )
        while True:
            with full_float32(self.vae_dtype):
                pixels = next(found, None)
            if pixels is None:
                return
            yield self.process_output(rearrange(pixels, "b c t h w -> b t h w c")).cpu()

    def encode_pixels(self, pixels: Tensor, tiling: Tiling) -> Tensor:
        """Encode pixels to a LATENT.

        Args:
            pixels: (b, 3, t, H, W) in [-1, 1].
            tiling: The chunks.

        Returns:
            (b, c, t', h, w).

        Raises:
            ValueError: A side is not a multiple of the compression factor, or a video's length is not 4n+1.
        """
        self._load_weights(pixels.shape[2] > 1, self.memory_used_encode(pixels.shape, self.vae_dtype))
        width, (frames, *sides) = self.first_stage_model.config.dim, pixels.shape[2:]
        with fit_threads(count_encoder(width, frames, math.prod(sides))), full_float32(self.vae_dtype):
            latent = self.first_stage_model.encode_raw(pixels, tiling=tiling, on_progress=Progress())
        return latent.to(self.output_device, self._output_dtype())

    def show_shortage(self, x: Tensor, tiling: Tiling, *, encode: bool = False, in_frames: bool = False) -> None:
        """Say under the running node, before the work, that a budget is less than the least that it takes.

        Args:
            x: LATENT (b, c, t, h, w) or (b, c, h, w); to ``encode`` an IMAGE (b, H, W, c), one after the other.
            tiling: The chunks.
            encode: Whether it is to be encoded.
            in_frames: Whether the frames of a video come as they are done.
        """
        vae = self.first_stage_model
        if encode:
            size = FeatureMapSize(1, *(side // vae.config.patch_size for side in x.shape[1:3]))
        else:
            size = FeatureMapSize(x.shape[2] if x.ndim == 5 else 1, *x.shape[-2:])
        network = vae.encoder if encode else vae.decoder
        sentence = describe_shortage(network, vae.config, size, tiling, self.device.type, in_frames)
        if sentence:
            show_sentence(sentence)

    def _output_dtype(self) -> torch.dtype:
        """Return the dtype that the host wants of a VAE's results; hosts before 0.18 do not say and take float32."""
        return self.vae_output_dtype() if hasattr(self, "vae_output_dtype") else torch.float32

    def _fit_videos(self, image: Tensor) -> Tensor:
        """Turn an IMAGE into pixels (b, 3, t, H, W), cut as core does: to a multiple of the factor, and at the end."""
        factor = self.first_stage_model.config.spatial_factor
        check_image(image, factor, dimensions=(4, 5))
        image = self._cut_end(image if image.ndim == 5 else image.unsqueeze(0))
        for axis in (2, 3):
            length = image.shape[axis] // factor * factor
            image = image.narrow(axis, image.shape[axis] % factor // 2, length)
        return self.process_input(rearrange(self.fit_channels(image), "b t h w c -> b c t h w"))

    def _cut_end(self, videos: Tensor) -> Tensor:
        """Leave out the last frames of videos (b, t, ...) that make no latent frame, and say so; core does not."""
        frames, factor = videos.shape[1], self.first_stage_model.config.temporal_factor
        extra = (frames - 1) % factor
        if extra:
            log.warning(
                "the last %d of %d frames are left out, as ComfyUI's own VAE does: this VAE takes 1 frame, or 1 more "
                "than a multiple of %d; encode images of their own with Wan Lite VAE Encode",
                extra, frames, factor,
            )  # fmt: skip
        return videos[:, : frames - extra]

    def fit_channels(self, image: Tensor) -> Tensor:
        """Drop an alpha channel (..., 3 or 4) where the VAE has none, and add an opaque one where it needs it."""
        missing = self.first_stage_model.config.in_channels - image.shape[-1]
        return torch.nn.functional.pad(image, (0, missing), value=1.0) if missing else image

    def _estimate(self, network: Encoder | Decoder, shape: Sequence[int], patch: int) -> int:
        """Return the bytes that the network takes for an input (b, c, t, h, w), given in patches of this size."""
        size = FeatureMapSize(shape[2], shape[3] // patch, shape[4] // patch)
        return estimate_memory(network, self.first_stage_model.config, size, self.device.type)

    def _use_layout(self) -> None:
        """Lay the kernels out once as a card reads them; they keep that where the host moves them."""
        if self.device.type != "cpu":
            self.first_stage_model.use_channels_last()

    def _load_weights(self, video: bool, working_memory: int) -> None:
        """Bring the weights to the device and make room to work; those that only videos need where one is given."""
        if video and not self.first_stage_model.has_video_weights:
            self.patcher.detach()
            self.first_stage_model.add_video_weights()
            self._use_layout()
            self.patcher.size = 0  # counted anew, by the patcher that the host's list of loaded models knows
            self.size = None
        required = min(working_memory, int(comfy.model_management.get_total_memory(self.device) * 0.8))
        comfy.model_management.load_models_gpu([self.patcher], memory_required=required, force_full_load=True)

    def _new_patcher(self) -> WholePatcher:
        offload = comfy.model_management.vae_offload_device()
        return WholePatcher(self.first_stage_model, load_device=self.device, offload_device=offload)


def _make_budget(working_memory: int) -> Tiling:
    return Tiling("budget", budget_mb=working_memory / 2**20)


def to_pixels(image: Tensor) -> Tensor:
    """Turn an IMAGE (b, H, W, c) in [0, 1] into single frames (b, c, 1, H, W) in [-1, 1]."""
    return to_signed(rearrange(image, "b h w c -> b c 1 h w"))


def check_image(image: Tensor, factor: int, *, dimensions: tuple[int, ...] = (4,)) -> None:
    """Check that an IMAGE can be encoded, once its sides are multiples of ``factor``.

    Args:
        image: (b, H, W, 3 or 4) in [0, 1]; with five dimensions (b, t, H, W, 3 or 4).
        factor: The VAE's spatial compression factor, below which no side may be.
        dimensions: How many are allowed.

    Raises:
        ValueError: Wrong shape or dtype, or values that are not finite or far outside [0, 1].
    """
    if not isinstance(image, Tensor) or not image.is_floating_point():
        found = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"image is {found}; it must be an IMAGE, numbers in [0, 1].")
    if image.ndim not in dimensions or image.shape[-1] not in (3, 4) or 0 in image.shape:
        raise ValueError(
            f"image has shape {list(image.shape)}; it must be [batch, height, width, 3 or 4], with at least one image: "
            "connect what Load Image or VAE Decode gives."
        )
    height, width = image.shape[-3:-1]
    if min(height, width) < factor:
        raise ValueError(f"image is {width}x{height} pixels; each side must have at least {factor}: enlarge it first.")
    check_range(image, "image", 0.0, 1.0, "clamp it, or take the image as Load Image gives it.")


def check_image_size(image: Tensor, factor: int) -> None:
    """Refuse an image whose sides are not multiples of ``factor``: cutting it silently would move it.

    Args:
        image: IMAGE (b, H, W, c).
        factor: The VAE's spatial compression factor.

    Raises:
        ValueError: A side is not a multiple of it.
    """
    height, width = image.shape[1:3]
    if height % factor or width % factor:
        fitting = f"{max(factor, width // factor * factor)}x{max(factor, height // factor * factor)}"
        raise ValueError(
            f"image is {width}x{height} pixels; both sides must be multiples of {factor}. Resize or crop it first, "
            f"for instance to {fitting}."
        )


def encode_images(vae: Any, image: Tensor, tiling: Tiling) -> Tensor:
    """Encode each image of a batch by itself with a VAE of ours or of the host's.

    Args:
        vae: The host's object.
        image: IMAGE (b, H, W, 3 or 4).
        tiling: The chunks; for a VAE of ours.

    Returns:
        LATENT (b, c, 1, h, w), or as the host's VAE gives it.

    Raises:
        ValueError: The image cannot be encoded.
    """
    factor = vae.spacial_compression_encode()
    check_image(image, factor)
    check_image_size(image, factor)
    if isinstance(vae, HostVAE):
        vae.show_shortage(image, tiling, encode=True)
        return vae.encode_pixels(to_pixels(vae.fit_channels(image)), tiling)
    return torch.cat([vae.encode(one) for one in image[..., :3].split(1)])


def decode_video(vae: Any, latent: Tensor, tiling: Tiling) -> Iterator[Tensor]:
    """Decode one video and yield frames (t, H, W, 3) in [0, 1] as they are done.

    Args:
        vae: The host's object; only one of ours decodes a few frames at a time.
        latent: (1, c, t, h, w).
        tiling: The chunks; for a VAE of ours.

    Raises:
        ValueError: The latent cannot be decoded, or is of several videos.
        NonFiniteError: The images are NaN.
    """
    if not isinstance(latent, Tensor) or latent.ndim != 5 or len(latent) != 1 or 0 in latent.shape:
        found = f"shape {list(latent.shape)}" if isinstance(latent, Tensor) else type(latent).__name__
        raise ValueError(
            f"samples has {found}; it must be one video, [1, channels, frames, height, width]: choose one of a batch "
            "with core's Latent From Batch."
        )
    if isinstance(vae, HostVAE):
        vae.show_shortage(latent, tiling, in_frames=True)
        yield from (frames[0] for frames in vae.decode_frames(latent, tiling))
    else:
        yield decode_latents(vae, latent, tiling)


def decode_latents(vae: Any, latent: Tensor, tiling: Tiling) -> Tensor:
    """Decode a LATENT with a VAE of ours or of the host's.

    Args:
        vae: The host's object.
        latent: (b, c, t, h, w) or (b, c, h, w).
        tiling: The chunks; for a VAE of ours.

    Returns:
        Frames (b, H, W, 3) in [0, 1], those of a video one after the other.

    Raises:
        ValueError: The latent cannot be decoded.
        NonFiniteError: The images are NaN.
    """
    if not isinstance(latent, Tensor) or latent.ndim not in (4, 5) or 0 in latent.shape:
        found = f"shape {list(latent.shape)}" if isinstance(latent, Tensor) else type(latent).__name__
        raise ValueError(
            f"samples has {found}; it must be [batch, channels, height, width] or [batch, channels, frames, height, "
            "width], none of them 0: connect what a sampler or VAE Encode gives."
        )
    if isinstance(vae, HostVAE):
        vae.show_shortage(latent, tiling)
        frames = vae.decode_latent(latent, tiling)
    else:
        frames = vae.decode(latent)
        check_finite(frames, "the decoded image", "look at what sampled the latent, or use another copy of the VAE.")
    return rearrange(frames, "... h w c -> (...) h w c")
