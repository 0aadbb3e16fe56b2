"""The Wan 2.1 and Wan 2.2 VAEs: images in 2-D with a third of the arithmetic, videos through the causal 3-D path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ..finite import check_finite
from .config import WAN21, WanVAEConfig
from .layers import CausalConv, Decoder, Downsample, Encoder, Upsample, arrange_pixels, patchify
from .streaming.frames import stream_decoded, stream_encoded
from .streaming.run import decode_batch, encode_batch
from .tiling import AUTO, OnProgress, Tiling
from .validation import check_decoded, check_latent, check_pixels, pad_frames

__all__ = ["VideoWeights", "WanVAE", "is_video_weight"]

VideoWeights = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Given the tensors that only videos need, empty but with their names and shapes, returns them filled."""


def is_video_weight(name: str) -> bool:
    """Whether the tensor of this name in :class:`WanVAE`'s state dict is needed for videos only."""
    return name.endswith(".past") or ".time_conv." in name


class WanVAE(nn.Module):
    """A Wan VAE of any width, trainable; without ``video`` it holds only the 2-D weights that images need.

    Args:
        config: Its shape; ``WAN21`` and ``WAN22`` are the real ones.
        video: Also hold the weights that only videos need (2.8 times as many).
    """

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, config: WanVAEConfig = WAN21, video: bool = False) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.conv1 = nn.Conv2d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = nn.Conv2d(config.z_dim, config.z_dim, 1)
        self.register_buffer("latents_mean", torch.tensor(config.latents_mean), persistent=False)
        self.register_buffer("latents_std", torch.tensor(config.latents_std), persistent=False)
        self.video_weights: VideoWeights | None = None
        if video:
            self.add_video_weights()

    def named_time_resamplers(self) -> Iterator[tuple[str, Downsample | Upsample]]:
        """Yield the layers, by name, that change the number of frames of a video."""
        for name, module in self.named_modules():
            if isinstance(module, (Downsample, Upsample)) and module.temporal:
                yield name, module

    @property
    def has_video_weights(self) -> bool:
        """Whether the weights that only videos need are in memory."""
        return self.encoder.conv1.past is not None

    def add_video_weights(self) -> None:
        """Bring the weights that only videos need into memory: from ``video_weights`` where it is set, else zeros."""
        tensors: Mapping[str, Tensor] = {}
        if self.video_weights is not None:  # first, so that nothing has changed when the file is not good
            with torch.device("meta"):
                expected = WanVAE(self.config, video=True).state_dict()
            tensors = self.video_weights({k: v for k, v in expected.items() if is_video_weight(k)})
        for module in self.modules():
            if isinstance(module, CausalConv):
                module.add_past()
        for _, resampler in self.named_time_resamplers():
            resampler.time_conv = resampler.make_time_conv()
        own = self.state_dict()
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)
        if self.conv1.weight.device.type != "cpu":
            self.use_channels_last()

    def use_channels_last(self) -> WanVAE:
        """Lay out the kernels as a card's convolutions read them, once rather than at each call; values stay."""
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
            elif parameter.ndim == 5 and parameter.shape[-1] == 3:  # the two earlier slices, each a kernel
                parameter.data = parameter.data.movedim(2, -1).contiguous().movedim(-1, 2)
        return self

    def encode(
        self,
        pixels: Tensor,
        *,
        tiling: Tiling | None = None,
        on_progress: OnProgress | None = None,
        pad: str | None = None,
    ) -> Tensor:
        """Encode pixels to normalised latents, ``(mu - mean) / std``; the log-variance is not used, as officially.

        Args:
            pixels: (b, 3, t, H, W) in [-1, 1], H and W multiples of ``config.spatial_factor``.
            tiling: In which chunks an image is done; it never changes the numbers (None: auto).
            on_progress: Called with (rows done, all rows) after each chunk.
            pad: What to do with a video whose length is not 4n+1: None refuses it, ``repeat`` repeats its last frame,
                ``reflect`` plays it backwards from there.

        Returns:
            (b, c, t', h, w), float32.

        Raises:
            ValueError: Wrong shape or dtype, a height or width that the VAE cannot halve as many times as it must, or
                values that are not finite or far outside [-1, 1] (a quarter of the range is left to resampling).
            NonFiniteError: The latent is NaN or infinite (checked only where no gradient is wanted).

        Source:
            Wan-Video/Wan2.2 ``vae2_1.py``, ``vae2_2.py``: ``WanVAE_.encode``.
        """
        mean, std = self._view_statistics()
        return (self.encode_raw(pixels, tiling=tiling, on_progress=on_progress, pad=pad) - mean) / std

    def encode_raw(  # the arguments of encode, stated again for editors and the reference
        self,
        pixels: Tensor,
        *,
        tiling: Tiling | None = None,
        on_progress: OnProgress | None = None,
        pad: str | None = None,
    ) -> Tensor:
        """Encode as :meth:`encode` but without the statistics, to raw mu, which is what ComfyUI's LATENT carries.

        Args:
            pixels: As in :meth:`encode`.
            tiling: As in :meth:`encode`.
            on_progress: As in :meth:`encode`.
            pad: As in :meth:`encode`.

        Returns:
            (b, c, t', h, w), float32.

        Raises:
            ValueError: As in :meth:`encode`.
            NonFiniteError: As in :meth:`encode`.
        """
        check_pixels(pixels, self.config, pad)
        pixels = pad_frames(pixels, self.config, pad)
        self._prepare_frames(pixels)
        if self._needs_grad(pixels):
            x = patchify(pixels.to(self.conv1.weight).squeeze(2), self.config.patch_size)
            x = self.encoder(x.contiguous(memory_format=torch.channels_last)).unsqueeze(2)
        else:
            x = encode_batch(self.encoder, self.config, pixels, tiling or AUTO, on_progress)
            check_finite(x, "the encoded latent", "use bfloat16 or float32, or another copy of the VAE.")
        return _convolve_pointwise(x, self.conv1, self.config.z_dim).float()

    def decode(
        self, z: Tensor, *, tiling: Tiling | None = None, clamp: bool = True, on_progress: OnProgress | None = None
    ) -> Tensor:
        """Decode normalised latents to pixels.

        Args:
            z: (b, c, t, h, w).
            tiling: As in :meth:`encode`.
            clamp: Limit the pixels to [-1, 1].
            on_progress: As in :meth:`encode`.

        Returns:
            (b, 3, t', H, W), float32.

        Raises:
            ValueError: Wrong shape or dtype, or another number of channels than this VAE's latents have.
            NonFiniteError: A pixel is NaN or infinite (checked only where no gradient is wanted).

        Source:
            Wan-Video/Wan2.2 ``vae2_1.py``, ``vae2_2.py``: ``WanVAE_.decode``.
        """
        check_latent(z, self.config)
        mean, std = self._view_statistics()
        return self._decode(z.float() * std + mean, tiling or AUTO, clamp, on_progress)

    def decode_raw(  # the arguments of decode, stated again for editors and the reference
        self,
        z: Tensor,
        *,
        tiling: Tiling | None = None,
        clamp: bool = True,
        on_progress: OnProgress | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Decode as :meth:`decode` but without the statistics, from raw mu, which is what ComfyUI's LATENT carries.

        Args:
            z: As in :meth:`decode`.
            tiling: As in :meth:`encode`.
            clamp: As in :meth:`decode`.
            on_progress: As in :meth:`encode`.
            out: Where the pixels go as they are done, of the result's shape, on any device, in any dtype.

        Returns:
            (b, 3, t', H, W), float32, or ``out``.

        Raises:
            ValueError: As in :meth:`decode`.
            NonFiniteError: As in :meth:`decode`.
        """
        check_latent(z, self.config)
        return self._decode(z, tiling or AUTO, clamp, on_progress, out)

    def decode_frames(
        self,
        z: Tensor,
        *,
        tiling: Tiling | None = None,
        clamp: bool = True,
        on_progress: OnProgress | None = None,
        raw: bool = False,
    ) -> Iterator[Tensor]:
        """Decode a video and yield its frames as they are done; the memory does not grow with their number.

        Args:
            z: (b, c, t, h, w), normalised as in :meth:`decode`.
            tiling: As in :meth:`encode`.
            clamp: As in :meth:`decode`.
            on_progress: As in :meth:`encode`.
            raw: Take raw mu, as :meth:`decode_raw` does.

        Yields:
            (b, 3, 1, H, W), then some frames at a time, (b, 3, 4k, H, W), float32.

        Raises:
            ValueError: As in :meth:`decode`, before the first frame.
            NonFiniteError: As in :meth:`decode`.
        """
        check_latent(z, self.config)
        mean, std = self._view_statistics()
        with torch.no_grad():
            z = z if raw else z.float() * std + mean
            self._prepare_frames(z)
            x = _convolve_pointwise(z.to(self.conv2.weight), self.conv2, self.config.z_dim)
        return self._yield_frames(x, z, tiling or AUTO, clamp, on_progress)

    def _yield_frames(
        self, x: Tensor, z: Tensor, tiling: Tiling, clamp: bool, on_progress: OnProgress | None
    ) -> Iterator[Tensor]:
        for y in stream_decoded(self.decoder, self.config, x, tiling, on_progress):
            check_decoded(y, z, self.decoder.named_parameters("decoder"))
            yield y.clamp_(-1, 1) if clamp else y

    def encode_frames(
        self,
        frames: Iterable[Tensor],
        *,
        tiling: Tiling | None = None,
        pad: str | None = None,
        raw: bool = False,
    ) -> Iterator[Tensor]:
        """Encode a video that comes in pieces and yield its latents as they are done.

        Args:
            frames: Pieces (b, 3, t, H, W) in [-1, 1] of any lengths, in order.
            tiling: As in :meth:`encode`.
            pad: What to do with a video whose length is not 4n+1: None refuses it at its end, ``repeat`` repeats its
                last frame.
            raw: Yield raw mu, as :meth:`encode_raw` does.

        Yields:
            (b, c, t', h, w), float32: first one latent frame, then some at a time.

        Raises:
            ValueError: As in :meth:`encode`, or a piece of another size than the first; a length that is not 4n+1 is
                known only at the end.
            NonFiniteError: As in :meth:`encode`.
        """
        mean, std = self._view_statistics()
        stream = stream_encoded(self.encoder, self.config, frames, tiling or AUTO, pad, self._prepare_frames)
        for x in stream:
            check_finite(x, "the encoded latent", "use bfloat16 or float32, or another copy of the VAE.")
            with torch.no_grad():
                mu = _convolve_pointwise(x, self.conv1, self.config.z_dim).float()
                yield mu if raw else (mu - mean) / std

    def _decode(
        self, z: Tensor, tiling: Tiling, clamp: bool, on_progress: OnProgress | None, out: Tensor | None = None
    ) -> Tensor:
        self._prepare_frames(z)
        x = _convolve_pointwise(z.to(self.conv2.weight), self.conv2, self.config.z_dim)
        if self._needs_grad(z):
            y = self.decoder(x.squeeze(2).contiguous(memory_format=torch.channels_last))
            y = arrange_pixels(y, self.config).float().unsqueeze(2)
            return y.clamp(-1, 1) if clamp else y
        y = decode_batch(self.decoder, self.config, x, tiling, on_progress, out)
        check_decoded(y, z, self.decoder.named_parameters("decoder"))
        return y.clamp_(-1, 1) if clamp else y

    def _needs_grad(self, x: Tensor) -> bool:
        """Whether the plain modules must run, because a gradient is wanted."""
        return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))

    def _prepare_frames(self, x: Tensor) -> None:
        """Bring the weights that videos need into memory where (b, c, t, h, w) is one; refuse one that cannot run."""
        frames = x.shape[2]
        if frames == 1:
            return
        if self._needs_grad(x):
            raise ValueError(
                f"a video of {frames} frames was given where a gradient is wanted; videos have none here: "
                "train on single frames, or run it under torch.no_grad()."
            )
        if not self.has_video_weights:
            if self.video_weights is None:
                raise ValueError(
                    f"a video of {frames} frames was given to a VAE that holds the weights for images only; "
                    "load it with video=True, or give one frame at a time."
                )
            self.add_video_weights()

    def _view_statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.latents_mean.float().view(shape), self.latents_std.float().view(shape)


def _convolve_pointwise(x: Tensor, conv: nn.Conv2d, channels: int) -> Tensor:
    """Return the first channels of a 1x1 convolution over (b, c, t, h, w), item by item: no batch mate changes one."""
    weight, bias = conv.weight[:channels].flatten(1), cast("Tensor", conv.bias)[:channels]
    items = [torch.einsum("bcthw,oc->bothw", item, weight) for item in x.split(1)]
    return (items[0] if len(items) == 1 else torch.cat(items)).add_(bias.view(1, -1, 1, 1, 1))
