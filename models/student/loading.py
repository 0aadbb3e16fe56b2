"""Students on disk: the folder that WanDistiller writes, or one file that holds everything, with its contract."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ...samplers.contract import CONTRACT_KEY, PRESETS, ContractError, SamplingContract, modelspec
from ..checkpoint import WEIGHT_NAMES, CheckpointError, TensorFile, read_tensors, write_tensors
from ..contract_files import read_contract
from ..fitting import check_fit, load_into
from ..model_kind import ModelKind, identify_model
from ..precision import choose_dtype
from ..text_files import read_text
from .network import StudentConfig, StudentNetwork
from .preview import PREVIEW_KEY, PreviewColours
from .student import VAES, Student, check_projection, fit_contract

__all__ = [
    "CONFIG_KEY",
    "PROJECTION_NAME",
    "StudentCheckpoint",
    "build_projection",
    "load_student",
    "read_student",
    "save_student",
    "to_file_names",
]

log = logging.getLogger(__name__)

CONFIG_KEY = "wan_lite.student_config"
PROJECTION_NAME = "output_proj.safetensors"
_PROJECTION_PREFIX = "output_proj."
_IN_PROJ = ((".attn.in_proj_weight", ".attn.in_proj.weight"), (".attn.in_proj_bias", ".attn.in_proj.bias"))
"""Endings of names in a file, and in the network."""


@dataclass(frozen=True)
class StudentCheckpoint:
    """A student as it lies on disk, read but not built: what a host needs to build it with its own layers.

    Attributes:
        config: Its sizes.
        tensors: Its weights, under the names of :class:`StudentNetwork`.
        projection: Weights of the output projection; empty where the student needs none.
        contract: How it wants to be sampled, or None.
        source: The file or folder's name.
        preview: The colours of its previews, or None where they are those of the published VAE.
    """

    config: StudentConfig
    tensors: Mapping[str, Tensor]
    projection: Mapping[str, Tensor]
    contract: SamplingContract | None
    source: str
    preview: PreviewColours | None = None

    @property
    def vae_channels(self) -> int:
        """The channels of the latent that the VAE decodes: 16 (Wan 2.1 VAE) or 48 (Wan 2.2 VAE)."""
        return _count_vae_channels(self.config, self.projection)


# Reading -------------------------------------------------------------------------------------------------------------


def load_student(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    preset: str | SamplingContract | None = None,
) -> Student:
    """Load a student for inference (evaluation mode, no gradients).

    Args:
        path: As for :func:`read_student`.
        dtype: Of the weights; None: see :func:`choose_dtype`. The projection is always in float32, as upstream has it.
        device: Where the weights go.
        preset: As for :func:`read_student`.

    Raises:
        CheckpointError: As for :func:`read_student`; also where a weight is NaN or a tensor does not fit.
        ValueError: The preset is not known.
    """
    checkpoint = read_student(path, preset=preset, dtype=lambda stored: choose_dtype(dtype, stored, device))
    network = StudentNetwork(checkpoint.config, device="meta")
    load_into(network, checkpoint.tensors, source=checkpoint.source, what=ModelKind.STUDENT.value)
    network.to(device).eval().requires_grad_(False)
    projection = build_projection(checkpoint)
    return Student(
        network,
        output_proj=None if projection is None else projection.to(device),
        contract=checkpoint.contract,
        source=checkpoint.source,
        preview=checkpoint.preview,
    )


def read_student(
    path: str | os.PathLike[str],
    *,
    preset: str | SamplingContract | None = None,
    dtype: Callable[[torch.dtype], torch.dtype] | None = None,
) -> StudentCheckpoint:
    """Read a student's files without building its network.

    Args:
        path: A folder as WanDistiller saves it (``config.json``, ``diffusion_pytorch_model.safetensors``,
            ``output_proj.safetensors`` where channels differ), its weights file, or the single file of
            :func:`save_student`.
        preset: The contract to assume where the checkpoint carries none, or its name in ``PRESETS``.
        dtype: Says, from the dtype of the file, in which one to read the weights; None keeps that of the file.

    Raises:
        CheckpointError: A file is missing, foreign or damaged, or does not fit its sizes; the sentence says which and
            what to do.
        ValueError: The preset is not known.
    """
    path = Path(path)
    if path.is_dir():
        files = _find_in_folder(path)
    else:
        file = TensorFile(path)
        if CONFIG_KEY in file.metadata:
            files = _split_single_file(file)
        elif (path.parent / "config.json").is_file():
            files = _find_in_folder(path.parent, file)
        else:
            raise CheckpointError(_describe_foreign(path, file.specs))
    specs = {_to_network_name(name): files.weights.specs[name] for name in files.names}
    check_fit(StudentNetwork(files.config, device="meta"), specs, source=files.source, what=ModelKind.STUDENT.value)
    contract = _find_contract(preset, files)
    wanted = None if dtype is None else dtype(specs["conv_in.weight"].dtype)
    tensors = {_to_network_name(name): value for name, value in files.weights.read(files.names, dtype=wanted).items()}
    return StudentCheckpoint(files.config, tensors, files.projection, contract, files.source, _read_preview(files))


def _read_preview(files: _Files) -> PreviewColours | None:
    text = files.weights.metadata.get(PREVIEW_KEY)
    if text is None:
        return None
    channels = _count_vae_channels(files.config, files.projection)
    return PreviewColours.from_json(text, channels=channels, source=files.source)


def build_projection(checkpoint: StudentCheckpoint) -> nn.Conv2d | None:
    """Return the 1x1 convolution from the student's channels to the VAE's in float32, or None where there is none.

    Args:
        checkpoint: Of the student.

    Raises:
        CheckpointError: The projection's tensors are not those of such a convolution, or hold NaN.
    """
    if not checkpoint.projection:
        return None
    projection = nn.Conv2d(checkpoint.config.num_channels, checkpoint.vae_channels, 1, device="meta")
    load_into(projection, checkpoint.projection, source=PROJECTION_NAME, what="an output projection")
    return projection.float().requires_grad_(False)


@dataclass(frozen=True)
class _Files:
    """A student's files, opened: sizes and projection are read, the weights (``names`` in their file) are not.

    ``place`` is the folder or the single file, where a contract is looked for.
    """

    config: StudentConfig
    weights: TensorFile
    names: list[str]
    projection: Mapping[str, Tensor]
    place: Path

    @property
    def source(self) -> str:
        return self.weights.path.name if self.place.is_file() else f"{self.place.name}/{self.weights.path.name}"


def _find_in_folder(folder: Path, weights: TensorFile | None = None) -> _Files:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise CheckpointError(
            f"{folder.name}: has no config.json, so it is not a student as WanDistiller saves it; "
            "choose the folder that holds config.json and the weights, or a single file made by Wan Lite."
        )
    config = StudentConfig.from_json(read_text(config_file), source=f"{folder.name}/config.json")
    weights = weights or TensorFile(_find_weights(folder))
    source = f"{folder.name}/{weights.path.name}"
    beside = folder / PROJECTION_NAME
    # A projection left beside a student that needs none belongs to an older run; upstream does not read it either.
    needed = config.num_channels not in VAES and beside.is_file()
    projection = _check_projection_fits(read_tensors(beside) if needed else {}, config, source)
    return _Files(config, weights, list(weights.specs), projection, folder)


def _split_single_file(file: TensorFile) -> _Files:
    source = file.path.name
    config = StudentConfig.from_json(file.metadata[CONFIG_KEY], source=f"{source}, header key {CONFIG_KEY}")
    own = [name for name in file.specs if name.startswith(_PROJECTION_PREFIX)]
    projection = {name.removeprefix(_PROJECTION_PREFIX): value for name, value in file.read(own).items()}
    names = [name for name in file.specs if not name.startswith(_PROJECTION_PREFIX)]
    return _Files(config, file, names, _check_projection_fits(projection, config, source), file.path)


def _find_weights(folder: Path) -> Path:
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"{folder.name}: has a config.json but no weights; expected {', '.join(WEIGHT_NAMES[:-1])} or "
        f"{WEIGHT_NAMES[-1]} beside it. Copy the weights of the same training run there."
    )


def _find_contract(preset: str | SamplingContract | None, files: _Files) -> SamplingContract | None:
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; known are {', '.join(map(repr, PRESETS))}.")
    try:
        contract = read_contract(files.place)
    except ContractError as error:
        if preset is None:
            raise
        log.warning("%s Taking %r instead.", error, preset if isinstance(preset, str) else preset.solver)
        contract = None
    if contract is None and preset is not None:
        contract = PRESETS[preset] if isinstance(preset, str) else preset
    if contract is None or contract.latent is not None:
        return contract
    return fit_contract(contract, files.config, _count_vae_channels(files.config, files.projection))


def _count_vae_channels(config: StudentConfig, projection: Mapping[str, Tensor]) -> int:
    return len(projection["weight"]) if projection else config.num_channels


def _check_projection_fits(
    projection: Mapping[str, Tensor], config: StudentConfig, source: str
) -> Mapping[str, Tensor]:
    """Return the projection, empty where the student needs none, or say why it is not this student's."""
    channels = config.num_channels
    check_projection(config, bool(projection), source)
    if not projection:
        return projection
    weight = projection.get("weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] != channels or weight.shape[0] not in VAES:
        found = "no tensor 'weight'" if weight is None else f"a weight of shape {list(weight.shape)}"
        raise CheckpointError(
            f"{source}: its output projection holds {found}, but a student of {channels} channels needs "
            f"[16, {channels}, 1, 1]; take the {PROJECTION_NAME} of the same training run."
        )
    return projection


def _describe_foreign(path: Path, tensors: Mapping[str, Tensor]) -> str:
    kind = identify_model(tensors)
    found = f"{len(tensors)} tensors of an unknown kind" if kind is None else kind.value
    remedy = (
        "keep it in its folder beside config.json, or save it as one file with Wan Lite."
        if kind is ModelKind.STUDENT
        else "choose a student's folder or file."
    )
    sizes = f"{CONFIG_KEY} in the header or a config.json beside it"
    return f"{path.name}: holds {found}, with no sizes of a student ({sizes}); {remedy}"


# Writing -------------------------------------------------------------------------------------------------------------


def save_student(
    student: Student, path: str | os.PathLike[str], *, contract: SamplingContract | None = None
) -> dict[str, str]:
    """Write a student as one ``.safetensors`` file that loads back bit-equal.

    Args:
        student: To save.
        path: Of the file to write.
        contract: How to sample it; None keeps the student's own. A contract that names no latent gets the student's.

    Returns:
        The metadata that the file was given.

    Raises:
        ValueError: The path does not end in ``.safetensors``, or there is no contract at all.
        OSError: The file cannot be written; what was there stays.
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
    tensors = to_file_names(student.network.state_dict())
    if student.output_proj is not None:
        tensors |= {_PROJECTION_PREFIX + key: value for key, value in student.output_proj.state_dict().items()}
    metadata = _make_metadata(student, contract, title=path.stem)
    write_tensors(path, tensors, metadata)
    return metadata


def _make_metadata(student: Student, contract: SamplingContract, *, title: str) -> dict[str, str]:
    """Return a student's sizes, its contract and the ModelSpec keys (Stability-AI/ModelSpec 1.0.1)."""
    side = student.pixel_size
    return {
        CONFIG_KEY: student.config.to_json(),
        CONTRACT_KEY: replace(contract, source="declared").to_json(),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "https://github.com/kat3ri/WanDistiller",
        "modelspec.title": title,
        "modelspec.resolution": f"{side}x{side}",
        **modelspec(contract),
        **({} if student.preview is None else {PREVIEW_KEY: student.preview.to_json()}),
    }


# Names ---------------------------------------------------------------------------------------------------------------


def to_file_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the network's tensors to the names in a checkpoint."""
    return {_rename(name, {own: file for file, own in _IN_PROJ}): value for name, value in tensors.items()}


def _to_network_name(name: str) -> str:
    """Return the name in the network of a checkpoint's tensor; the inverse of :func:`to_file_names`."""
    return _rename(name, dict(_IN_PROJ))


def _rename(key: str, endings: Mapping[str, str]) -> str:
    for old, new in endings.items():
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key
