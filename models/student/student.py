"""Distilled Wan students: loaded, ready to sample, and saved as one file that carries its sampling contract."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ...samplers.contract import CONTRACT_KEY, SamplingContract, modelspec
from ..checkpoint import CheckpointError, load_into, write_tensors
from .loading import (
    CELL_PIXELS,
    CONFIG_KEY,
    PROJECTION_PREFIX,
    WHAT,
    StudentCheckpoint,
    build_projection,
    fit_contract,
    projection_missing,
    read_student,
)
from .network import StudentConfig, StudentNetwork, names_in_file, pool_text

__all__ = [
    "Student",
    "StudentCheckpoint",
    "StudentConfig",
    "StudentNetwork",
    "build_projection",
    "fit_contract",
    "load_student",
    "pool_text",
    "read_student",
    "save_student",
]


class Student:
    """A loaded student.

    Attributes:
        network: predicts from (latent, timestep, text). config: its sizes.
        contract: how it wants to be sampled, or None. source: the file or folder's name.
        output_proj: 1x1 convolution from the student's channels to the VAE's, or None where they are the same.
    """

    def __init__(
        self,
        network: StudentNetwork,
        *,
        output_proj: nn.Conv2d | None = None,
        contract: SamplingContract | None = None,
        source: str = "student",
    ) -> None:
        self.network = network
        self.config = network.config
        self.output_proj = output_proj
        self.contract = contract
        self.source = source
        if output_proj is None and self.config.num_channels not in CELL_PIXELS:
            raise CheckpointError(projection_missing(source, self.config.num_channels))

    @property
    def vae_channels(self) -> int:
        """The channels of the latent that the VAE decodes: 16 (Wan 2.1 VAE) or 48 (Wan 2.2 VAE)."""
        return self.config.num_channels if self.output_proj is None else self.output_proj.out_channels

    @property
    def cell_pixels(self) -> int:
        """The pixels that one latent cell covers on each side: 8 (Wan 2.1 VAE) or 16 (Wan 2.2 VAE)."""
        return CELL_PIXELS[self.vae_channels]

    @property
    def pixel_size(self) -> int:
        """The true side in pixels of the picture that the student was trained for."""
        return self.config.latent_size * self.cell_pixels

    def to_vae_latent(self, latent: Tensor) -> Tensor:
        """Project a finished latent (b, C, h, w) to the VAE's channels (b, 16, h, w), normalised; once, at the end."""
        if self.output_proj is None:
            return latent
        weight = self.output_proj.weight
        return self.output_proj(latent.to(weight.device, weight.dtype)).to(latent.dtype)


def load_student(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    preset: str | None = None,
) -> Student:
    """Load a student for inference (evaluation mode, no gradients).

    Args:
        path, preset: as for :func:`read_student`.
        dtype: of the weights; None keeps the file's own. The projection always stays in float32, as upstream has it.

    Raises:
        CheckpointError: as for :func:`read_student`; also where a weight is NaN or a tensor does not fit.
        ValueError: the preset is not known.
    """
    checkpoint = read_student(path, preset=preset)
    network = StudentNetwork(checkpoint.config, device="meta")
    load_into(network, checkpoint.tensors, source=checkpoint.source, what=WHAT)
    network.to(device, dtype or network.conv_in.weight.dtype).eval().requires_grad_(False)
    projection = build_projection(checkpoint)
    return Student(
        network,
        output_proj=None if projection is None else projection.to(device),
        contract=checkpoint.contract,
        source=checkpoint.source,
    )


def save_student(
    student: Student, path: str | os.PathLike[str], *, contract: SamplingContract | None = None
) -> dict[str, str]:
    """Write a student as one ``.safetensors`` file that loads back bit-equal, and return the header it was given.

    Args:
        contract: how to sample it; None keeps the student's own. A contract that names no latent gets the student's.

    Raises:
        ValueError: the path does not end in ``.safetensors``, or there is no contract at all.
        OSError: the file cannot be written; what was there stays.
    """
    path = Path(path)
    contract = contract or student.contract
    if path.suffix != ".safetensors":
        raise ValueError(f"path is {path.name}; a student is saved as one file whose name ends in .safetensors.")
    if contract is None:
        raise ValueError(
            f"{student.source}: has no sampling contract to save with it; give one, or load with a preset."
        )
    if contract.latent is None:
        contract = fit_contract(contract, student.config, student.vae_channels)
    tensors = names_in_file(student.network.state_dict())
    if student.output_proj is not None:
        tensors |= {PROJECTION_PREFIX + key: value for key, value in student.output_proj.state_dict().items()}
    header = student_header(student, contract, title=path.stem)
    write_tensors(path, tensors, header)
    return header


def student_header(student: Student, contract: SamplingContract, *, title: str) -> dict[str, str]:
    """Return the string table of a student's header: its sizes, its contract and the ModelSpec keys.

    Source: Stability-AI/ModelSpec 1.0.1.
    """
    side = student.pixel_size
    return {
        CONFIG_KEY: student.config.to_json(),
        CONTRACT_KEY: replace(contract, source="declared").to_json(),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "https://github.com/kat3ri/WanDistiller",
        "modelspec.title": title,
        "modelspec.resolution": f"{side}x{side}",
        **modelspec(contract),
    }
