"""Reading weights from disk without ever running code that a file carries, and writing them whole or not at all.

Everything that opens a checkpoint in this package goes through this module, so that a wrong file is one sentence naming
the file, what was found, what was expected and what to do, whatever kind of model was asked for.
"""

from __future__ import annotations

import errno
import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..atomic import replacing

__all__ = [
    "WEIGHT_NAMES",
    "CheckpointError",
    "open_safetensors",
    "read_pickle",
    "read_tensors",
    "strip_prefixes",
    "write_tensors",
]

WEIGHT_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_model.safetensors", "model.safetensors")
"""Names that the weights of one network have in a folder of its own; the first is that of diffusers."""

_WRAPPERS = ("_orig_mod", "module")


class CheckpointError(ValueError):
    """A file that cannot be used, said in one sentence: which file, what it holds, what was expected, what to do."""


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return all tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file by name.

    Pickled files are read with ``weights_only=True``; a training checkpoint that keeps its weights under
    ``model``, ``state_dict`` or ``model_state_dict`` is unwrapped. What ``torch.compile`` and DDP add to names is
    removed.

    Raises:
        CheckpointError: the file is missing, truncated, of another kind, or holds anything but tensors.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        with open_safetensors(path) as file:
            return {strip_prefixes(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    content = read_pickle(path)
    for wrapper in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path.name}: holds {type(content).__name__}, not a mapping of named tensors; give a model checkpoint."
        )
    return {strip_prefixes(str(key)): value for key, value in content.items()}


def read_pickle(path: str | os.PathLike[str], *, stand_ins: Iterable[tuple[type, str]] = ()) -> object:
    """Return the content of a pickled checkpoint, with nothing unpickled but tensors and plain containers.

    Args:
        path: of the file.
        stand_ins: pairs of an inert class and the dotted name in the file that it stands for.

    Raises:
        CheckpointError: the file is missing, damaged, or asks for a class that is not allowed.
    """
    path = _check_is_file(Path(path))
    try:
        with torch.serialization.safe_globals(list(stand_ins)), warnings.catch_warnings():
            # torch remarks on protocols that it may not read; whether it could is said below
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        found = f"asks for {asked[1]}" if asked else "is damaged, or holds more than tensors and plain values"
        raise CheckpointError(
            f"{path.name}: refused, nothing in it was run: it {found}; save the weights as safetensors and load that."
        ) from error
    except Exception as error:  # a damaged stream makes torch's reader fail in any way: IndexError, AssertionError, ...
        raise CheckpointError(
            f"{path.name}: cannot be read as a PyTorch checkpoint ({_first_line(error)}); "
            "it is damaged, incomplete or of another kind. Copy or download it again."
        ) from error


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a ``.safetensors`` file, whole or not at all.

    Args:
        path: of the file.
        tensors: by name.
        metadata: strings for its header.

    Raises:
        OSError: the folder cannot be written to or the disk is full.
    """
    kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with replacing(path) as part:
        try:
            save_file(kept, part, metadata=dict(metadata))
        except SafetensorError as error:
            raise OSError(errno.EIO, _first_line(error)) from error


def strip_prefixes(key: str) -> str:
    """Remove the parts that ``torch.compile`` and data-parallel wrappers leave anywhere in a name."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def open_safetensors(path: str | os.PathLike[str]) -> Any:
    """Open a ``.safetensors`` file as ``safetensors.safe_open`` does, to be used in a ``with`` statement.

    Raises:
        CheckpointError: the file is missing, truncated or of another kind.
    """
    path = _check_is_file(Path(path))
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name}: is not a complete safetensors file ({_first_line(error)}); copy or download it again."
        ) from error


def _check_is_file(path: Path) -> Path:
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, but a single file of weights was expected; name the file in it.")
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; check the name and the folder.")
    return path


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
