"""Checks of what goes into a Wan VAE."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ..finite import check_finite, is_finite
from .config import WanVAEConfig

__all__ = ["PADS", "check_decoded", "check_latent", "check_length", "check_pixels", "check_range", "pad_frames"]

PADS = ("repeat", "reflect")
_OVERSHOOT = 0.25  # of the range: bicubic resampling leaves it by a fifth at sharp edges, and that is no mistake
_LARGEST_LATENT = 1e3
_NAMES = {16: "the Wan 2.1 VAE (all of Wan 2.1, and Wan2.2 A14B)", 48: "the Wan 2.2 VAE (Wan2.2 TI2V-5B only)"}


def check_pixels(pixels: Tensor, config: WanVAEConfig, pad: str | None = None) -> None:
    """Check that these pixels can be encoded.

    Args:
        pixels: (b, 3, t, H, W) in [-1, 1].
        config: Of the VAE.
        pad: What to do with a video whose length is not 4n+1.

    Raises:
        ValueError: Wrong shape, dtype or size, a length that ``pad`` does not mend, or values that are not finite or
            far outside [-1, 1] (see :func:`check_range`).
    """
    _check_tensor(pixels, "pixels", "(b, 3, t, H, W) in [-1, 1]")
    channels = config.in_channels
    if pixels.shape[1] != channels:
        meaning = "red, green, blue" + ", alpha" * (channels == 4)
        remedy = "add an alpha channel of ones" if channels == 4 else "drop an alpha channel"
        raise ValueError(
            f"pixels has {pixels.shape[1]} channels (shape {list(pixels.shape)}); it must be (b, {channels}, t, H, W), "
            f"{meaning} in [-1, 1]: {remedy}, or move the channels to the front."
        )
    if 0 in pixels.shape:
        raise ValueError(f"pixels has shape {list(pixels.shape)}; no side may be 0.")
    _check_size(pixels, config)
    if pad is not None and pad not in PADS:
        raise ValueError(f"pad is {pad!r}; it must be None or one of {', '.join(PADS)}.")
    if pad is None:
        check_length(pixels.shape[2], config)
    check_range(pixels, "pixels", -1.0, 1.0, "map an image in [0, 1] with image * 2 - 1.")


def check_length(frames: int, config: WanVAEConfig) -> None:
    """Check that a video has a length that can be encoded whole.

    Raises:
        ValueError: It is not 4n+1.
    """
    step = config.temporal_factor
    if (frames - 1) % step:
        below = 1 + (frames - 1) // step * step
        raise ValueError(
            f"a video of {frames} frames was given; its length must be {step}n+1: cut it to {below}, lengthen it to "
            f"{below + step}, or choose pad='repeat' or pad='reflect'."
        )


def _check_size(pixels: Tensor, config: WanVAEConfig) -> None:
    factor = config.spatial_factor
    height, width = pixels.shape[3:]
    if height % factor or width % factor:
        crop = (
            f"crop to {width // factor * factor}x{height // factor * factor} or "
            if min(height, width) >= factor
            else ""
        )
        raise ValueError(
            f"pixels are {width}x{height}; width and height must be multiples of {factor} for {config.variant}: "
            f"{crop}pad to {-(-width // factor) * factor}x{-(-height // factor) * factor}."
        )


def check_range(x: Tensor, name: str, low: float, high: float, remedy: str) -> None:
    """Check that values are finite and in a range; resampling may overshoot it by a quarter.

    Args:
        x: Of any shape; one value of it is read from its device.
        name: What it is, for the message.
        low: The least value.
        high: The largest value.
        remedy: What to do about values outside, for the message.

    Raises:
        ValueError: A value is NaN, infinite or outside.
    """
    least, most = torch.stack(torch.aminmax(x)).tolist()
    slack = _OVERSHOOT * (high - low)
    if least >= low - slack and most <= high + slack:
        return
    if math.isfinite(least) and math.isfinite(most):
        raise ValueError(
            f"{name} has values from {least:.3g} to {most:.3g}; they must lie in [{low:g}, {high:g}]: {remedy}"
        )
    raise ValueError(
        f"{name} holds {'NaN' if math.isnan(least) else 'infinite values'}; every value must be finite, in "
        f"[{low:g}, {high:g}]: look at what made it."
    )


def check_latent(z: Tensor, config: WanVAEConfig) -> None:
    """Check that this latent can be decoded.

    Args:
        z: (b, c, t, h, w).
        config: Of the VAE.

    Raises:
        ValueError: Wrong shape or dtype, or another number of channels than this VAE's latents have.
    """
    _check_tensor(z, "latent", f"(b, {config.z_dim}, t, h, w)")
    if z.shape[1] != config.z_dim:
        needs = _NAMES.get(z.shape[1])
        advice = f"a latent of {z.shape[1]} channels needs {needs}" if needs else "it is of another model"
        raise ValueError(
            f"the latent has {z.shape[1]} channels and this is a VAE of {config.z_dim} ({config.variant}): {advice}. "
            "Wan2.2 A14B uses the Wan 2.1 VAE (16 channels), TI2V-5B the Wan 2.2 VAE (48)."
        )
    if 0 in z.shape:
        raise ValueError(f"the latent has shape {list(z.shape)}; no side may be 0.")
    if config.upscale > 1 and z.shape[2] > 1:
        raise ValueError(
            f"a video of {z.shape[2]} latent frames was given to a VAE that decodes images only, at {config.upscale} "
            "times the size; decode the video with the Wan 2.1 VAE."
        )


def check_decoded(pixels: Tensor, z: Tensor, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Check that decoded pixels, not yet clamped, are finite; where they are not, say which tensor is to blame.

    Args:
        pixels: What came out; one value of it is read from its device.
        z: The raw latent that went in.
        weights: Of the decoder, by name.

    Raises:
        NonFiniteError: A pixel is NaN or infinite.
    """
    if is_finite(pixels):
        return
    if not is_finite(z):
        remedy = "so does the latent that was decoded: look at what sampled it."
    elif (largest := z.abs().max().item()) > _LARGEST_LATENT:
        remedy = f"the latent has values up to {largest:.3g}, an image's stay below about 20: look at what sampled it."
    else:
        name, weight = max(weights, key=lambda item: item[1].abs().max().item())
        remedy = (
            f"the latent is finite, the largest weight is {name} with {weight.abs().max():.3g} in "
            f"{str(weight.dtype).removeprefix('torch.')}: use bfloat16 or float32, or another copy of the VAE."
        )
    check_finite(pixels, "the decoded image", remedy)


def _check_tensor(x: Tensor, name: str, shape: str) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} is {found}; it must be a floating-point tensor {shape}.")
    if x.ndim != 5:
        advice = "add the frame dimension with x.unsqueeze(2)" if x.ndim == 4 else "reshape it"
        raise ValueError(f"{name} has shape {list(x.shape)}; it must be {shape}: {advice}.")


def pad_frames(pixels: Tensor, config: WanVAEConfig, pad: str | None) -> Tensor:
    """Lengthen a video to the next allowed length, by its last frame or by its own mirror image."""
    frames = pixels.shape[2]
    more = -(frames - 1) % config.temporal_factor
    if not more or pad is None:
        return pixels
    last = frames - 1
    if pad == "repeat":
        order = [min(i, last) for i in range(frames + more)]
    else:
        period = max(1, 2 * last)
        order = [min(i % period, period - i % period) for i in range(frames + more)]
    return pixels[:, :, torch.tensor(order, device=pixels.device)]
