"""A student on disk: the folder that WanDistiller writes, or one file that holds everything. Reading, not building."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from ...samplers.contract import PRESETS, ContractError, SamplingContract
from ..checkpoint import CheckpointError, describe_foreign, load_into, read_metadata, read_tensors
from ..contract_files import WEIGHT_NAMES, read_contract
from .network import StudentConfig, names_in_network

__all__ = [
    "CELL_PIXELS",
    "CONFIG_KEY",
    "PROJECTION_NAME",
    "PROJECTION_PREFIX",
    "WHAT",
    "StudentCheckpoint",
    "build_projection",
    "fit_contract",
    "projection_missing",
    "read_student",
]

log = logging.getLogger(__name__)

CONFIG_KEY = "wan_lite.student_config"
PROJECTION_NAME = "output_proj.safetensors"
PROJECTION_PREFIX = "output_proj."
CELL_PIXELS = {16: 8, 48: 16}
"""Channels of a Wan VAE -> pixels on each side of one of its cells. A student of these channels needs no projection."""
WHAT = "a distilled Wan student"


@dataclass(frozen=True)
class StudentCheckpoint:
    """A student as it lies on disk, read but not built: what a host needs to build it with its own layers.

    ``tensors`` carry the names of :class:`StudentNetwork`; ``projection`` is empty where the student needs none.
    """

    config: StudentConfig
    tensors: Mapping[str, Tensor]
    projection: Mapping[str, Tensor]
    contract: SamplingContract | None
    source: str

    @property
    def vae_channels(self) -> int:
        """The channels of the latent that the VAE decodes: 16 (Wan 2.1 VAE) or 48 (Wan 2.2 VAE)."""
        return _vae_channels(self.config, self.projection)


def read_student(path: str | os.PathLike[str], *, preset: str | None = None) -> StudentCheckpoint:
    """Read a student's files without building its network.

    Args:
        path: a folder as WanDistiller saves it (``config.json``, ``diffusion_pytorch_model.safetensors``,
            ``output_proj.safetensors`` where channels differ), its weights file, or the single file of
            :func:`save_student`.
        preset: name of the contract to assume where the checkpoint carries none.

    Raises:
        CheckpointError: a file is missing, foreign or damaged; the sentence says which and what to do.
        ValueError: the preset is not known.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, preset)
    header = read_metadata(path) if path.suffix == ".safetensors" else {}
    if CONFIG_KEY in header:
        return _read_single_file(path, header[CONFIG_KEY], preset)
    if path.is_file() and (path.parent / "config.json").is_file():
        return _read_folder(path.parent, preset, weights=path)
    tensors = read_tensors(path)
    raise CheckpointError(_not_a_student(path, tensors))


def _read_folder(folder: Path, preset: str | None, weights: Path | None = None) -> StudentCheckpoint:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise CheckpointError(
            f"{folder.name}: has no config.json, so it is not a student as WanDistiller saves it; "
            "choose the folder that holds config.json and the weights, or a single file made by Wan Lite."
        )
    config = StudentConfig.from_json(_text_of(config_file), source=f"{folder.name}/config.json")
    weights = weights or _weights_in(folder)
    source = f"{folder.name}/{weights.name}"
    tensors = read_tensors(weights)
    beside = folder / PROJECTION_NAME
    # A projection left beside a student that needs none belongs to an older run; upstream does not read it either.
    needed = config.num_channels not in CELL_PIXELS and beside.is_file()
    projection = _checked_projection(read_tensors(beside) if needed else {}, config, source)
    contract = _contract_of(folder, preset, config, projection)
    return StudentCheckpoint(config, names_in_network(tensors), projection, contract, source)


def _read_single_file(path: Path, config: str, preset: str | None) -> StudentCheckpoint:
    tensors = read_tensors(path)
    start = len(PROJECTION_PREFIX)
    held = {key[start:]: value for key, value in tensors.items() if key.startswith(PROJECTION_PREFIX)}
    network = {key: value for key, value in tensors.items() if not key.startswith(PROJECTION_PREFIX)}
    sizes = StudentConfig.from_json(config, source=f"{path.name}, header key {CONFIG_KEY}")
    projection = _checked_projection(held, sizes, path.name)
    contract = _contract_of(path, preset, sizes, projection)
    return StudentCheckpoint(sizes, names_in_network(network), projection, contract, path.name)


def _weights_in(folder: Path) -> Path:
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"{folder.name}: has a config.json but no weights; expected {', '.join(WEIGHT_NAMES[:-1])} or "
        f"{WEIGHT_NAMES[-1]} beside it. Copy the weights of the same training run there."
    )


def build_projection(checkpoint: StudentCheckpoint) -> nn.Conv2d | None:
    """Return the 1x1 convolution from the student's channels to the VAE's in float32, or None where there is none.

    Raises:
        CheckpointError: the projection's tensors are not those of such a convolution, or hold NaN.
    """
    if not checkpoint.projection:
        return None
    projection = nn.Conv2d(checkpoint.config.num_channels, checkpoint.vae_channels, 1, device="meta")
    load_into(projection, checkpoint.projection, source=PROJECTION_NAME, what="an output projection")
    return projection.float().requires_grad_(False)


def fit_contract(contract: SamplingContract, config: StudentConfig, vae_channels: int) -> SamplingContract:
    """Return the contract with what the checkpoint itself shows: latent size, VAE and projection."""
    size = config.latent_size
    return replace(
        contract,
        latent=(config.num_channels, size, size),
        vae="wan2.1" if vae_channels == 16 else "wan2.2",
        output_projection=config.num_channels not in CELL_PIXELS,
    )


def _contract_of(
    path: Path, preset: str | None, config: StudentConfig, projection: Mapping[str, Tensor]
) -> SamplingContract | None:
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; known are {', '.join(map(repr, PRESETS))}.")
    try:
        contract = read_contract(path)
    except ContractError as error:
        if preset is None:
            raise
        log.warning("%s Taking the preset %r instead.", error, preset)
        contract = None
    if contract is None and preset is not None:
        contract = PRESETS[preset]
    if contract is None or contract.latent is not None:
        return contract
    return fit_contract(contract, config, _vae_channels(config, projection))


def _vae_channels(config: StudentConfig, projection: Mapping[str, Tensor]) -> int:
    return len(projection["weight"]) if projection else config.num_channels


def _checked_projection(projection: Mapping[str, Tensor], config: StudentConfig, source: str) -> Mapping[str, Tensor]:
    """Return the projection, empty where the student needs none, or say why it is not this student's."""
    channels = config.num_channels
    if not projection:
        if channels not in CELL_PIXELS:
            raise CheckpointError(projection_missing(source, channels))
        return projection
    weight = projection.get("weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] != channels or weight.shape[0] not in CELL_PIXELS:
        found = "no tensor 'weight'" if weight is None else f"a weight of shape {list(weight.shape)}"
        raise CheckpointError(
            f"{source}: its output projection holds {found}, but a student of {channels} channels needs "
            f"[16, {channels}, 1, 1]; take the {PROJECTION_NAME} of the same training run."
        )
    return projection


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path.parent.name}/{path.name}: cannot be read as text ({error}); take the file that training saved."
        ) from error


def projection_missing(source: str, channels: int) -> str:
    """Say that a student of these channels lacks its projection."""
    return (
        f"{source}: is a student of {channels} channels without an output projection; the VAE takes 16, so "
        f"{PROJECTION_NAME} must lie beside the weights. Copy it from the training run's folder."
    )


def _not_a_student(path: Path, tensors: Mapping[str, Tensor]) -> str:
    found = describe_foreign(tensors) or f"{len(tensors)} tensors of an unknown kind"
    remedy = (
        "keep it in its folder beside config.json, or save it as one file with Wan Lite."
        if found == WHAT
        else "choose a student's folder or file."
    )
    sizes = f"{CONFIG_KEY} in the header or a config.json beside it"
    return f"{path.name}: holds {found}, with no sizes of a student ({sizes}); {remedy}"
