"""Sampling that starts from an image: as a whole, or inside a mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..models.finite import check_finite
from ..models.student import Student
from ..models.wan_vae.vae import WanVAE
from ..samplers.process import NoiseProcess
from ..samplers.solver import Denoiser
from .pictures.convert import to_signed

__all__ = ["MaskedDenoiser", "Start", "encode_start"]


@dataclass(frozen=True)
class Start:
    """What a run starts from instead of pure noise.

    Attributes:
        latent: (1, C, h, w), the student's own, of a clean image.
        denoise: Share of the schedule that is run, in (0, 1]; 1 begins with noise alone, so that only a mask keeps
            anything of the image.
        mask: (1, 1, h, w) in [0, 1]: 1 is sampled, 0 stays as it is; None samples everywhere.
    """

    latent: Tensor
    denoise: float = 1.0
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 < self.denoise <= 1:
            raise ValueError(f"denoise is {self.denoise:g}; allowed are numbers above 0 up to 1.")

    def expand_to(self, noise: Tensor) -> Start:
        """Return the same for each item of a batch of noise (b, C, h, w), on its device."""
        mask = None if self.mask is None else self.mask.to(noise)
        return replace(self, latent=self.latent.to(noise).expand_as(noise), mask=mask)


@dataclass(frozen=True)
class MaskedDenoiser:
    """A denoiser that knows the image outside of the mask, as ComfyUI's noise masks work.

    Attributes:
        denoise: The denoiser inside.
        start: The image and its mask.
        noise: The run's starting noise, which the known part gets at every sigma.
        process: How it gets it.
    """

    denoise: Denoiser
    start: Start
    noise: Tensor
    process: NoiseProcess

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return x0 for the noisy latent ``x`` at ``sigma``. Shapes: (b, ...) both."""
        mask = self.start.mask
        if mask is None:
            return self.denoise(x, sigma)
        known = self.process.add_noise(self.start.latent, self.noise, sigma)
        x0 = self.denoise(x * mask + known * (1 - mask), sigma)
        return x0 * mask + self.start.latent * (1 - mask)

    def with_noise(self, x: Tensor, sigma: float) -> tuple[Tensor, None]:
        """Return x0; what the network took for noise is not that of the mended latent."""
        return self(x, sigma), None


def encode_start(
    student: Student, vae: WanVAE, image: Tensor, *, denoise: float = 1.0, mask: Tensor | None = None
) -> Start:
    """Encode an image as the start of a run.

    Args:
        student: What will sample; one of fewer channels than the VAE gets the nearest latent that it can have.
        vae: Encodes the image.
        image: (H, W, 3) in [0, 1].
        denoise: As in :class:`Start`.
        mask: (H', W') in [0, 1], of any size.

    Raises:
        ValueError: The image's sides are not multiples of the VAE's compression, or denoise is out of its range.
        NonFiniteError: The image, the mask or its latent hold NaN or infinity.
    """
    for name, tensor in (("image", image), ("mask", mask)):
        if tensor is not None:
            check_finite(tensor, f"the {name}", "give another file.")
    parameter = next(vae.parameters())
    with torch.inference_mode():
        pixels = rearrange(to_signed(image), "h w c -> 1 c 1 h w").to(parameter)
        latent = student.from_vae_latent(rearrange(vae.encode(pixels), "1 c 1 h w -> 1 c h w").float())
    check_finite(latent, "the encoded image", "try --precision bf16 or fp32.")
    if mask is not None:
        mask = F.interpolate(rearrange(mask.float(), "h w -> 1 1 h w"), size=latent.shape[-2:], mode="bilinear")
        mask = mask.clamp(0.0, 1.0)
    return Start(latent, denoise, mask)
