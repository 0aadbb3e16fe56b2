"""Checks of what is linked to a node: tensors of the right number of dimensions, with something in them, all finite.

Each raises a sentence that names the input, the value found, what is allowed, and what to do.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....models.finite import is_finite
from ....models.wan_vae.validation import check_range

__all__ = ["check_conditioning", "check_frames", "check_latent", "check_mask", "check_sigmas"]

ENCODE_AGAIN = "encode the prompt again with CLIPTextEncode, or load it with WanLiteTextEmbedsLoad."


def check_conditioning(conditioning: Any, name: str) -> None:
    """Check that a CONDITIONING holds encoded text, all of it finite.

    Args:
        conditioning: A list of pairs of a tensor (b, l, d) and its options.
        name: The input's.

    Raises:
        ValueError: There is none, an entry is not of this form, or a number is NaN or infinite.
    """
    if not isinstance(conditioning, list | tuple) or not conditioning:
        found = "empty" if isinstance(conditioning, list | tuple) else f"{type(conditioning).__name__}"
        raise ValueError(f"{name} is {found}; it must be a CONDITIONING with at least one entry: {ENCODE_AGAIN}")
    for entry in conditioning:
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[1], dict):
            raise ValueError(f"{name} has an entry that is not a tensor with its options; {ENCODE_AGAIN}")
        _check_floats(entry[0], name, dimensions=(2, 3, 4, 5), shape="[batch, tokens, width]", remedy=ENCODE_AGAIN)
        for key, value in entry[1].items():
            if isinstance(value, Tensor):
                _check_finite(value, f"{name}, its {key},", ENCODE_AGAIN)


def check_latent(latent: Any, name: str) -> None:
    """Check that a LATENT and its mask can be sampled from.

    Args:
        latent: A mapping with ``samples`` (b, c, h, w) or (b, c, t, h, w).
        name: The input's.

    Raises:
        ValueError: It has no samples, they have another number of dimensions or none in one of them, or a number is NaN
            or infinite.
    """
    samples = latent.get("samples") if isinstance(latent, dict) else None
    if samples is None:
        raise ValueError(f"{name} holds no samples; connect a LATENT, for instance of WanLiteEmptyLatent.")
    if getattr(samples, "is_nested", False):  # several latents in one, which the host alone can take apart
        return
    remedy = "connect what WanLiteEmptyLatent, a VAE Encode or a sampler gives."
    _check_floats(samples, name, dimensions=(4, 5), shape="[batch, channels, (frames,) height, width]", remedy=remedy)
    if latent.get("noise_mask") is not None:
        check_mask(latent["noise_mask"], f"the mask of {name}")


def check_mask(mask: Any, name: str) -> None:
    """Check a MASK (h, w), (b, h, w) or with channels and frames between: floating-point, not empty, all finite."""
    remedy = "connect what Load Image (as Mask) or Solid Mask gives."
    _check_floats(mask, name, dimensions=(2, 3, 4, 5), shape="[batch, height, width]", remedy=remedy)


def check_sigmas(sigmas: Any, name: str) -> None:
    """Check that SIGMAS (n + 1,) are at least two finite numbers; what steps on them says in which order."""
    remedy = "connect what WanLiteFlowSchedule, WanLiteDDIMSchedule or BasicScheduler gives."
    if isinstance(sigmas, Tensor) and sigmas.ndim == 1 and len(sigmas) < 2:
        raise ValueError(f"{name} holds {len(sigmas)} numbers, so there is no step to take; {remedy}")
    _check_floats(sigmas, name, dimensions=(1,), shape="[steps + 1]", remedy=remedy)


def check_frames(frames: Any, name: str) -> None:
    """Check that an IMAGE is a video's frames (t, H, W, 3 or 4) in [0, 1]."""
    remedy = "connect what Load Image, Load Video or a rollout gives."
    _check_floats(frames, name, dimensions=(4,), shape="[frames, height, width, 3 or 4]", remedy=remedy)
    if frames.shape[-1] not in (3, 4):
        raise ValueError(f"{name} has {frames.shape[-1]} channels; an IMAGE has 3, or 4 with alpha: {remedy}")
    check_range(frames, name, 0.0, 1.0, "clamp it, or take the frames as Load Image gives them.")


def _check_floats(tensor: Any, name: str, *, dimensions: tuple[int, ...], shape: str, remedy: str) -> None:
    """Check that something is a floating-point tensor with so many dimensions, none of them 0, and finite."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        found = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} is {found}; it must be a floating-point tensor {shape}: {remedy}")
    if tensor.ndim not in dimensions or 0 in tensor.shape:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; it must be {shape}, none of them 0: {remedy}")
    _check_finite(tensor, name, remedy)


def _check_finite(tensor: Tensor, name: str, remedy: str) -> None:
    if not is_finite(tensor):
        raise ValueError(f"{name} holds NaN or infinite values, so no image can come of it; {remedy}")
