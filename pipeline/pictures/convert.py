"""Conversions between what networks, people and files hold: tensors in [-1, 1] or [0, 1], 8 bits, Pillow's images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...atomic import replacing

__all__ = [
    "Rounding",
    "bytes_to_signed",
    "find_format",
    "from_pil",
    "join_alpha",
    "make_mask",
    "read_image",
    "save_image",
    "to_pil",
    "to_signed",
    "to_uint8",
    "to_unit",
]

Rounding = Literal["truncate", "round"]
"""How a value in [0, 1] becomes 8 bits: ``truncate`` is floor(255 x), ``round`` is the nearest whole number."""


def to_uint8(image: Tensor, rounding: Rounding = "truncate") -> Tensor:
    """Convert [0, 1] to 8 bits, values outside of it clamped; the only place where this pack does so.

    Images truncate, as ComfyUI's Save Image does. Charts and reports, which nobody compares bit by bit, round.

    Args:
        image: Of any shape, on any device.
        rounding: The rule.

    Returns:
        uint8 on the CPU, of the same shape.
    """
    scaled = image.detach().float().cpu().clamp(0.0, 1.0) * 255.0
    return (scaled.round() if rounding == "round" else scaled).to(torch.uint8)


def to_unit(pixels: Tensor) -> Tensor:
    """Map [-1, 1], what networks take and give, to [0, 1], what people and files hold; nothing is clamped."""
    return (pixels + 1.0) / 2.0


def to_signed(image: Tensor) -> Tensor:
    """Map [0, 1] to [-1, 1]; nothing is clamped."""
    return image * 2.0 - 1.0


def bytes_to_signed(values: Tensor) -> Tensor:
    """Map 8 bits to [-1, 1] in float32."""
    return values.to(torch.float32, copy=True).div_(127.5).sub_(1.0)


def to_pil(image: Tensor, rounding: Rounding = "truncate") -> Image.Image:
    """Convert (H, W, 3) in [0, 1] to an image of 8 bits (see :func:`to_uint8`)."""
    return Image.fromarray(to_uint8(image, rounding).numpy())


def from_pil(image: Image.Image) -> Tensor:
    """Convert an image to (H, W, 3) float32 in [0, 1], what ComfyUI calls IMAGE (without the batch)."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0)


def read_image(path: Path, size: tuple[int, int]) -> Tensor:
    """Read an image and bring it to a size: cropped from the middle to its proportions, then resized.

    Args:
        path: Any file that Pillow reads.
        size: Width and height in pixels.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: It is not an image that can be read, or has far too many pixels.
    """
    try:
        with Image.open(path) as image:
            return from_pil(ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), size, Image.Resampling.LANCZOS))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such image; check the name and the folder.") from error
    # a damaged image makes Pillow's readers fail in all these ways
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path.name}: is not an image that can be read ({str(error)[:100]}); choose another."
        ) from error


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image whole or not at all; the file's ending says in which format.

    Raises:
        OSError: The file cannot be written.
        ValueError: The ending is not one that Pillow writes.
    """
    kind = find_format(Path(path))
    with replacing(path) as part:
        image.save(part, format=kind)


def find_format(path: Path) -> str:
    """Return Pillow's name of the format that a file's ending stands for.

    Raises:
        ValueError: There is none.
    """
    known = Image.registered_extensions()
    if path.suffix.lower() not in known:
        raise ValueError(f"{path.name}: not an ending of an image; use .png, .jpg or .webp.")
    return known[path.suffix.lower()]


def make_mask(images: Tensor) -> Tensor:
    """Return what is transparent in images (b, H, W, 3 or 4) in [0, 1], (b, H, W): 1 minus alpha, 0 without one."""
    return 1 - images[..., 3] if images.shape[-1] == 4 else torch.zeros(images.shape[:-1])


def join_alpha(images: Tensor, alpha: Tensor) -> Tensor:
    """Join colours and an image of the alpha channel to images with transparency.

    Args:
        images: (b, H, W, 3 or 4) in [0, 1]; their own alpha is dropped.
        alpha: (b, H, W, 3 or 4), whose red channel is alpha.

    Returns:
        (b, H, W, 4).

    Raises:
        ValueError: The two differ in number or size.
    """
    if images.shape[:3] != alpha.shape[:3]:
        (b, h, w), (n, y, x) = images.shape[:3], alpha.shape[:3]
        raise ValueError(
            f"image is {b} of {w}x{h} and alpha {n} of {x}x{y}; decode both from the same latent, image with "
            "Wan-Alpha's VAE of the colours and alpha with that of the alpha channel."
        )
    return torch.cat([images[..., :3], alpha[..., :1].to(images)], dim=-1)
