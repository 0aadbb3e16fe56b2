"""Reading weights from disk without ever running code that a file carries, and writing them whole or not at all.

Everything that opens a checkpoint in this package goes through :class:`TensorFile`, so that a wrong file is one
sentence naming the file, what was found, what was expected and what to do, whatever kind of model was asked for; and so
that sizes are known and checked before memory is taken.
"""

from __future__ import annotations

import errno
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..atomic import replacing
from .errors import CheckpointError, quote_first_line
from .metadata import open_safetensors
from .pickles import read_pickle

__all__ = [
    "WEIGHT_NAMES",
    "CheckpointError",
    "TensorFile",
    "copy_tensor",
    "get_mapping",
    "read_tensors",
    "write_tensors",
]

WEIGHT_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_model.safetensors", "model.safetensors")
"""Names that the weights of one network have in a folder of its own; the first is that of diffusers."""

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""What the format calls the dtypes that torch has; it knows others (F4, F6) that torch cannot hold."""
_MAX_DIMENSIONS = 64  # of a torch tensor
_MAX_ELEMENTS = 2**62  # strides of a tensor without elements may overflow too
_BYTES_AT_ONCE = 32 * 2**20
"""As much of a file is mapped at a time: its pages count as memory of the process until they are let go."""
_NESTED_UNDER = ("model", "state_dict", "model_state_dict")
_WRAPPERS = ("_orig_mod", "module")


class TensorFile:
    """A ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file: opened, but not read.

    A training checkpoint that keeps its weights under ``model``, ``state_dict`` or ``model_state_dict`` is unwrapped.
    What ``torch.compile`` and DDP add to names is removed.

    Args:
        path: Of the file.
        stand_ins: For a pickled file, pairs of an inert class and the dotted name in the file that it stands for.

    Attributes:
        path: Of the file.
        metadata: Strings in the header of a ``.safetensors`` file.
        specs: A tensor without memory (on the meta device) for each tensor, with its shape and dtype.
        settings: The configuration that training pickled beside the weights (``config`` or ``hyperparameters``).

    Raises:
        CheckpointError: The file is missing, truncated, of another kind, or holds anything but tensors that torch has.
    """

    def __init__(self, path: str | os.PathLike[str], *, stand_ins: Iterable[tuple[type, str]] = ()) -> None:
        self.path = Path(path)
        self.metadata: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        self._stand_ins = list(stand_ins)
        if self.path.suffix == ".safetensors":
            with open_safetensors(self.path) as file:
                self.metadata = dict(file.metadata() or {})
                found = {key: _make_spec(self.path, key, file.get_slice(key)) for key in file.keys()}  # noqa: SIM118
        else:
            self.settings, tensors = self._unpickle()
            found = {key: torch.empty_like(value, device="meta") for key, value in tensors.items()}
        self._keys = {_strip_prefixes(key): key for key in found}
        if len(self._keys) != len(found):
            raise CheckpointError(f"{self.path.name}: has tensors of the same name; save the weights again.")
        self.specs: dict[str, Tensor] = {name: found[key] for name, key in self._keys.items()}

    def read(self, names: Iterable[str] | None = None, *, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return tensors, each in contiguous memory of its own.

        Matrix products of one row differ in the last digit between weights as they lie in a file, mostly not aligned,
        and weights that own their memory; and the file can be replaced while they live.

        Args:
            names: Of the tensors; None reads all.
            dtype: Of those in floating point; None keeps that of the file.

        Raises:
            CheckpointError: The file has changed since it was opened, or has no tensor of such a name.
        """
        return {name: copy_tensor(tensor, dtype) for name, tensor in self.stream(names)}

    def stream(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Give tensors one by one as they lie in the file, to be copied; keep none, or the file's memory stays.

        Args:
            names: As for :meth:`read`.

        Raises:
            CheckpointError: As for :meth:`read`.
        """
        wanted = list(self.specs if names is None else names)
        missing = [name for name in wanted if name not in self.specs]
        if missing:
            raise CheckpointError(f"{self.path.name}: has no tensor {missing[0]}; choose a complete file.")
        sizes = {name: self.specs[name].nbytes for name in wanted}
        for part in _split(sizes) if self._is_mapped() else [wanted]:
            yield from self._stream_part(part)

    def _is_mapped(self) -> bool:
        """Whether tensors are mapped from the file; in PyTorch's format before 1.6 they are read all at once."""
        return self.path.suffix == ".safetensors" or zipfile.is_zipfile(self.path)

    def _stream_part(self, names: list[str]) -> Iterator[tuple[str, Tensor]]:
        if self.path.suffix != ".safetensors":
            _, tensors = self._unpickle()
            for name in names:
                yield name, tensors[self._keys[name]]
            return
        with open_safetensors(self.path) as file:
            for name in names:
                yield name, self._get(file, name)

    def _get(self, file: Any, name: str) -> Tensor:
        try:
            tensor: Tensor = file.get_tensor(self._keys[name])
        except Exception as error:  # whatever the library and torch think of the tensor
            raise CheckpointError(
                f"{self.path.name}: {name} cannot be read ({quote_first_line(error)}); copy or download it again."
            ) from error
        return tensor

    def _unpickle(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the settings that lie beside the weights, and the weights."""
        content, settings = read_pickle(self.path, stand_ins=self._stand_ins), {}
        for name in _NESTED_UNDER:
            if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
                settings = get_mapping(content, "config") or get_mapping(content, "hyperparameters")
                content = content[name]
        if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
            raise CheckpointError(
                f"{self.path.name}: holds {type(content).__name__}, not a mapping of named tensors; give a model "
                "checkpoint."
            )
        return settings, {str(key): value for key, value in content.items()}


def read_tensors(path: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return all tensors of a file by name, each in memory of its own; see :class:`TensorFile`.

    Args:
        path: Of the file.
        dtype: Of those in floating point; None keeps that of the file.

    Raises:
        CheckpointError: As for :class:`TensorFile`.
    """
    return TensorFile(path).read(dtype=dtype)


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a ``.safetensors`` file, whole or not at all.

    Args:
        path: Of the file.
        tensors: By name.
        metadata: Strings for its header.

    Raises:
        OSError: The folder cannot be written to or the disk is full.
    """
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with replacing(path) as part:
        try:
            save_file(contiguous, part, metadata=dict(metadata))
        except SafetensorError as error:
            raise OSError(errno.EIO, quote_first_line(error)) from error


def get_mapping(content: object, key: str) -> dict[str, Any]:
    """Return the mapping under a key of what may be a mapping; empty where there is none."""
    value = content.get(key) if isinstance(content, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def _make_spec(path: Path, key: str, header: Any) -> Tensor:
    """Return a tensor without memory as the header describes it, or say why torch cannot hold it."""
    shape, dtype = header.get_shape(), str(header.get_dtype())
    if dtype not in _DTYPES:
        raise CheckpointError(
            f"{path.name}: {key} is stored as {dtype}, which PyTorch does not have; use weights in bf16, fp16 or fp32."
        )
    if len(shape) > _MAX_DIMENSIONS or math.prod(max(side, 1) for side in shape) > _MAX_ELEMENTS:
        raise CheckpointError(
            f"{path.name}: {key} has {len(shape)} dimensions, {shape[:4]} ..., which no tensor can have; the file is "
            "damaged, copy or download it again."
        )
    return torch.empty(shape, dtype=_DTYPES[dtype], device="meta")


def copy_tensor(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a contiguous copy in memory of its own; in ``dtype`` where one is given and it is in floating point."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=wanted).copy_(tensor)


def _split(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Split names into parts whose tensors together have at most ``_BYTES_AT_ONCE``, or are one larger tensor."""
    part: list[str] = []
    held = 0
    for name, size in sizes.items():
        if part and held + size > _BYTES_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(name)
        held += size
    if part:
        yield part


def _strip_prefixes(key: str) -> str:
    """Remove the parts that ``torch.compile`` and data-parallel wrappers leave anywhere in a name."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)
