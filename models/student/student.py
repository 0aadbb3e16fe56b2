"""A distilled Wan student: its network, the projection to the VAE's latent, and how it wants to be sampled."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ...samplers.contract import SamplingContract
from ..checkpoint import CheckpointError
from ..wan_vae.config import WAN21, WAN22
from .network import StudentConfig, StudentNetwork
from .preview import PreviewColours

__all__ = ["VAES", "Student", "check_projection", "fit_contract", "invert_projection"]

VAES = {vae.z_dim: vae for vae in (WAN21, WAN22)}
"""Channels of its latent -> Wan VAE. A student of these channels needs no projection."""


class Student:
    """A loaded student.

    Attributes:
        network: Predicts from (latent, timestep, text).
        config: Its sizes.
        output_proj: 1x1 convolution from the student's channels to the VAE's, or None where they are the same.
        contract: How it wants to be sampled, or None.
        source: The file or folder's name.
        preview: The colours of its previews, or None where they are those of the published VAE.

    Raises:
        CheckpointError: The student needs a projection and has none.
    """

    def __init__(
        self,
        network: StudentNetwork,
        *,
        output_proj: nn.Conv2d | None = None,
        contract: SamplingContract | None = None,
        source: str = "student",
        preview: PreviewColours | None = None,
    ) -> None:
        self.network = network
        self.config = network.config
        self.output_proj = output_proj
        self.contract = contract
        self.source = source
        self.preview = preview
        check_projection(self.config, output_proj is not None, source)

    @property
    def vae_channels(self) -> int:
        """The channels of the latent that the VAE decodes: 16 (Wan 2.1 VAE) or 48 (Wan 2.2 VAE)."""
        return self.config.num_channels if self.output_proj is None else self.output_proj.out_channels

    @property
    def spatial_factor(self) -> int:
        """The VAE's spatial compression: 8 (Wan 2.1 VAE) or 16 (Wan 2.2 VAE)."""
        return VAES[self.vae_channels].spatial_factor

    @property
    def pixel_size(self) -> int:
        """The true side in pixels of the image that the student was trained for."""
        return self.config.latent_size * self.spatial_factor

    def to(self, device: str | torch.device) -> Student:
        """Move network and projection to a device; returns the student itself."""
        self.network.to(device)
        if self.output_proj is not None:
            self.output_proj.to(device)
        return self

    def to_vae_latent(self, latent: Tensor) -> Tensor:
        """Project a finished latent (b, C, h, w) to the VAE's channels (b, 16, h, w), normalised; once, at the end."""
        if self.output_proj is None:
            return latent
        weight = self.output_proj.weight
        return self.output_proj(latent.to(weight.device, weight.dtype)).to(latent.dtype)

    def from_vae_latent(self, latent: Tensor) -> Tensor:
        """Return the nearest latent (b, C, h, w) of the student to one of the VAE (b, 16, h, w), both normalised."""
        if self.output_proj is None:
            return latent
        return invert_projection(latent, self.output_proj.weight, self.output_proj.bias)


def invert_projection(latent: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what an output projection comes nearest to a latent with, by least squares.

    Args:
        latent: (b, 16, ...), normalised.
        weight: Of the projection, (16, C, 1, 1).
        bias: Of the projection, (16,) or None.

    Returns:
        (b, C, ...).
    """
    inverse = torch.linalg.pinv(weight.flatten(1).to("cpu", latent.dtype)).to(latent.device)  # not every card has one
    if bias is not None:
        latent = latent - bias.to(latent).view(1, -1, *[1] * (latent.ndim - 2))
    return torch.einsum("ov,bv...->bo...", inverse, latent)


def check_projection(config: StudentConfig, has_projection: bool, source: str) -> None:
    """Refuse a student that needs an output projection and has none.

    Args:
        config: Its sizes.
        has_projection: Whether there is one.
        source: The file's name, for the message.

    Raises:
        CheckpointError: Its latent is of another width than every VAE's, and nothing projects it.
    """
    if config.num_channels not in VAES and not has_projection:
        raise CheckpointError(
            f"{source}: is a student of {config.num_channels} channels without an output projection; the VAE takes 16, "
            "so output_proj.safetensors must lie beside the weights. Copy it from the training run's folder."
        )


def fit_contract(contract: SamplingContract, config: StudentConfig, vae_channels: int) -> SamplingContract:
    """Return the contract with what the checkpoint itself shows: latent size, VAE and projection.

    Args:
        contract: How to sample.
        config: The student's sizes.
        vae_channels: Of the latent that the VAE decodes, 16 or 48.
    """
    size = config.latent_size
    return replace(
        contract,
        latent=(config.num_channels, size, size),
        vae=VAES[vae_channels].variant,
        output_projection=config.num_channels not in VAES,
    )
