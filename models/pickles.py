"""Reading PyTorch's pickled files (.pth, .pt, .bin) without running what they carry or taking memory on their word.

Only the few names that files of weights need are let through, before torch reads anything; archives must be stored
uncompressed, as torch writes them, so that their tensors can be memory-mapped; and every tensor must be a plain one,
whose storage is as large as its shape says.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from .errors import CheckpointError, quote_first_line
from .metadata import check_is_file

__all__ = ["read_pickle"]

StandIns = Iterable[tuple[Callable[..., Any], str]]

_MAX_PICKLE = 4_000_000
"""Bytes of structure, without the tensors' own; real files have 150 for a tensor."""
_PICKLES_IN_A_STREAM = 5  # of torch's format before 1.6: magic number, version, machine, content, storages
_ALLOWED = {
    "collections.OrderedDict",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch.nn.parameter.Parameter",
}
_STORAGE = re.compile(r"torch\.(cuda\.|storage\.)?[A-Z][A-Za-z0-9]*Storage")
_BY_NUMBER = ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4")  # ways to name a class that torch does not follow either


def read_pickle(path: Path, *, stand_ins: StandIns = ()) -> object:
    """Return the content of a pickled checkpoint: plain containers, and tensors that are memory-mapped where possible.

    Args:
        path: Of the file.
        stand_ins: Pairs of an inert class and the dotted name in the file that it stands for.

    Raises:
        CheckpointError: The file is missing or damaged, asks for a class that is not allowed, is compressed, or holds
            tensors that are not plain ones.
    """
    path = check_is_file(path)
    replaced: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = list(stand_ins)
    try:
        is_archive = _check_before_reading(path, {name for _, name in stand_ins})
        with torch.serialization.safe_globals(replaced), warnings.catch_warnings():
            # torch remarks on protocols that it may not read; whether it could is said below
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive or None)
        _check_tensors(path, content)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise _refuse(path, asked[1] if asked else "more than tensors and plain values, or is damaged") from error
    except Exception as error:  # a damaged stream makes torch's reader fail in any way: IndexError, AssertionError, ...
        raise CheckpointError(
            f"{path.name}: cannot be read as a PyTorch checkpoint ({quote_first_line(error)}); "
            "it is damaged, incomplete or of another kind. Copy or download it again."
        ) from error
    return content


def _check_before_reading(path: Path, allowed: Collection[str]) -> bool:
    """Check archive and pickles by their structure alone; return whether it is an archive."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            stream = io.BytesIO(file.read(_MAX_PICKLE))
        for _ in range(_PICKLES_IN_A_STREAM):
            _check_names(path, stream, allowed)
        return False
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError(
                f"{path.name}: is a compressed archive, which PyTorch does not write; unpack it, or save the weights "
                "again with torch.save or as safetensors."
            )
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise CheckpointError(f"{path.name}: says that it holds more than it does; copy or download it again.")
        for entry in entries:
            if entry.filename.rpartition("/")[2] == "data.pkl":
                if entry.file_size > _MAX_PICKLE:
                    raise CheckpointError(
                        f"{path.name}: has {entry.file_size / 1e6:.0f} MB of structure beside its tensors, and at most "
                        f"{_MAX_PICKLE / 1e6:.0f} MB are read; save the weights alone, as safetensors."
                    )
                _check_names(path, io.BytesIO(archive.read(entry)), allowed)
    return True


def _check_names(path: Path, stream: BinaryIO, allowed: Collection[str]) -> None:
    """Refuse a pickle that names a class or function which weights do not need; reading the opcodes runs nothing."""
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            name = str(argument).replace(" ", ".")
            if name not in allowed and not _is_of_tensors(name):
                raise _refuse(path, name)
        elif opcode.name in _BY_NUMBER:
            raise _refuse(path, "a class in a form that is not read")


def _is_of_tensors(name: str) -> bool:
    is_dtype = isinstance(getattr(torch, name.removeprefix("torch."), None), torch.dtype)
    return name in _ALLOWED or _STORAGE.fullmatch(name) is not None or is_dtype


def _refuse(path: Path, asked: str) -> CheckpointError:
    return CheckpointError(
        f"{path.name}: refused, nothing in it was run: it asks for {asked}; save the weights as safetensors and load "
        "that."
    )


def _check_tensors(path: Path, content: object) -> None:
    """Refuse tensors that are not plain, at any depth of the content."""
    known: set[int] = set()
    left = [("the file", content)]
    while left:
        name, value = left.pop()
        if isinstance(value, Tensor):
            _check_tensor(path, name, value)
        elif isinstance(value, Mapping | list | tuple) and id(value) not in known:
            known.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            left += [(str(key), item) for key, item in items]


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    is_plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_plain or tensor.is_quantized or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            f"{path.name}: {name} is not a plain tensor with all its numbers in the file (it is sparse, nested, "
            "quantised, expanded or without content); save the weights as contiguous tensors."
        )
