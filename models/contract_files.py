"""Where a sampling contract lies on disk: in the weights' header, or beside them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..samplers.contract import CONTRACT_KEY, ContractError, SamplingContract, modelspec
from .checkpoint import WEIGHT_NAMES, CheckpointError
from .metadata import read_metadata, rewrite_metadata
from .scheduler_config import read_scheduler_config
from .text_files import read_text

__all__ = ["list_contract_files", "read_contract", "stamp"]

_CONTRACT_NAME = "sampling_contract.json"
_SCHEDULER_NAMES = ("scheduler/scheduler_config.json", "scheduler_config.json")


def read_contract(path: str | os.PathLike[str]) -> SamplingContract | None:
    """Return the contract of a checkpoint file or folder, or None where nothing says how to sample it.

    In this order: the safetensors header; ``sampling_contract.json`` in the folder (beside a single file:
    ``<name>.sampling_contract.json``); diffusers' ``scheduler/scheduler_config.json`` or ``scheduler_config.json``.

    Args:
        path: Of the file or folder.

    Raises:
        ContractError: There is one, but it cannot be read or cannot be followed.
    """
    path = Path(path)
    return _read_declared(_find_weights(path)) or _read_sidecar(path)


def list_contract_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the existing files of which :func:`read_contract` may open any; a folder's own path comes first.

    Args:
        path: Of the checkpoint file or folder.
    """
    path = Path(path)
    found = [path, _find_weights(path), *_list_sidecars(path)]
    return [file for file in found if file is not None and file.exists()]


def stamp(path: str | os.PathLike[str], contract: SamplingContract) -> Path:
    """Write a contract into the header of a safetensors file (or of the one in a student's folder).

    Only the header changes: the tensors' bytes are copied as they are, and the file is replaced in one move.

    Args:
        path: Of the file or folder.
        contract: To write.

    Returns:
        The file that was written.

    Raises:
        ContractError: There is no safetensors file at ``path``, or it is damaged.
    """
    weights = _find_weights(Path(path))
    if weights is None or weights.suffix != ".safetensors" or not weights.is_file():
        raise ContractError(
            f"{Path(path).name}: is not a .safetensors file and holds none of {', '.join(WEIGHT_NAMES)}; a contract "
            "can only be stamped into safetensors."
        )
    entries = {CONTRACT_KEY: replace(contract, source="declared").to_json(), **modelspec(contract)}
    try:
        rewrite_metadata(weights, entries)
    except CheckpointError as error:
        raise ContractError(str(error)) from None
    return weights


def _read_declared(weights: Path | None) -> SamplingContract | None:
    if weights is None or weights.suffix != ".safetensors" or not weights.is_file():
        return None
    try:
        text = read_metadata(weights).get(CONTRACT_KEY)
    except CheckpointError as error:
        raise ContractError(str(error)) from None
    return None if text is None else SamplingContract.from_json(text, origin=weights.name, source="declared")


def _read_sidecar(path: Path) -> SamplingContract | None:
    own, *configs = _list_sidecars(path)
    if own.is_file():
        return SamplingContract.from_json(_read_text(own), origin=own.name, source="sidecar")
    config = next((file for file in configs if file.is_file()), None)
    if config is None:
        return None
    try:
        return SamplingContract(**read_scheduler_config(config), source="sidecar")
    except ContractError as error:
        raise ContractError(f"{config.name}: {error}") from None
    except ValueError as error:
        raise ContractError(str(error)) from None


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except CheckpointError as error:
        raise ContractError(str(error)) from None


def _list_sidecars(path: Path) -> list[Path]:
    """Return where sidecars are looked for: this pack's own first, then diffusers' in a folder."""
    folder = path if path.is_dir() else path.parent if path.name in WEIGHT_NAMES else None
    if folder is None:
        return [path.with_name(f"{path.stem}.{_CONTRACT_NAME}")]
    return [folder / _CONTRACT_NAME, *(folder / name for name in _SCHEDULER_NAMES)]


def _find_weights(path: Path) -> Path | None:
    if not path.is_dir():
        return path
    return next((path / name for name in WEIGHT_NAMES if (path / name).is_file()), None)
