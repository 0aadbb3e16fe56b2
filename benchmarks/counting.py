"""Counting what a graphics card would do, without one: networks run on the meta device, where only shapes exist.

A fused norm and a fused attention are one kernel each on a card, whereas the meta device takes them apart: here they
are counted as one. Views are no kernels. A memory-bound kernel reads each input and writes each output once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Counts", "count_calls"]

_aten = torch.ops.aten
_READS = {_aten._local_scalar_dense.default, _aten.nonzero.default, _aten.equal.default, _aten.is_nonzero.default}
_ALLOCATIONS = {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided"}
_OVERWRITES = {"copy", "fill", "zero"}
_CONVOLUTIONS = {"convolution", "_convolution", "convolution_overrideable"}


@dataclass
class Counts:
    """What a call did.

    Args:
        launches: Kernels by name; the attention and the norm are one each.
        bytes: Bytes read and written by kernel.
        peak: Most bytes of tensors that the call made and that were alive together.
        host_reads: Values that the host waited for.
        mixed: Kernels whose tensors lay on different devices, by name.
    """

    launches: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    host_reads: int = 0
    mixed: Counter[str] = field(default_factory=Counter)

    @property
    def kernels(self) -> int:
        """All kernels."""
        return self.launches.total()

    @property
    def bytes_beside_convolutions(self) -> int:
        """Bytes that kernels other than convolutions read and write."""
        return sum(value for name, value in self.bytes.items() if name not in _CONVOLUTIONS)


@contextmanager
def count_calls() -> Iterator[Counts]:
    """Count what runs inside, on tensors of the meta device (or of any other, whose kernels then really run)."""
    counts = Counts()
    dispatch = _Dispatch(counts)
    with _Fused(dispatch), dispatch:
        yield counts


class _Dispatch(TorchDispatchMode):
    """Counts each operation as it reaches a device."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts, self.live = counts, dict[int, tuple[StorageWeakRef, int]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        if func in _READS:
            self.counts.host_reads += 1
            if inputs[0].is_meta:
                return True if inputs[0].dtype == torch.bool else 0.0
        if _copies_to_host(func, args, kwargs):
            return self._copy_to_host(func, args)
        result = func(*args, **kwargs)
        self.count(name, inputs, result, is_view=func.is_view)
        return result

    def _copy_to_host(self, func: Any, args: Any) -> Tensor:
        """Take a copy from the meta device to the host for done: its values would be read there."""
        source = args[1] if func is _aten.copy_.default else args[0]
        self.counts.launches["copy_to_host"] += 1
        self.counts.host_reads += source.numel() <= 16
        return args[0] if func is _aten.copy_.default else torch.zeros(source.shape, dtype=source.dtype)

    def count(self, name: str, inputs: list[Tensor], result: Any, is_view: bool = False) -> None:
        """Count one operation with its inputs and its result or results."""
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self._track(outputs, {tensor.untyped_storage()._cdata for tensor in inputs})
        if is_view or name in _ALLOCATIONS or name in ("detach", "_unsafe_view", "lift_fresh", "alias"):
            return
        if not sum(tensor.numel() for tensor in outputs):
            return
        moved = [*(inputs[1:] if name in _OVERWRITES else inputs), *outputs]
        self.counts.launches[name] += 1
        self.counts.bytes[name] += sum(_measure(tensor) for tensor in moved)
        devices = {tensor.device.type for tensor in moved if tensor.ndim}
        self.counts.mixed[name] += len(devices) > 1

    def _track(self, outputs: list[Tensor], known: set[int]) -> None:
        self.live = {key: value for key, value in self.live.items() if not value[0].expired()}
        for tensor in outputs:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self.live and key not in known and not _is_cpu_number(tensor):
                self.live[key] = StorageWeakRef(storage), storage.nbytes()
        self.counts.peak = max(self.counts.peak, sum(size for _, size in self.live.values()))


class _Fused(TorchFunctionMode):
    """Counts the norm and the attention as the one kernel that each is on a card."""

    def __init__(self, dispatch: _Dispatch) -> None:
        super().__init__()
        self.dispatch = dispatch
        self.shapes: dict[Any, Callable[..., Tensor]] = {
            F.rms_norm: _shape_norm,
            torch.rms_norm: _shape_norm,
            F.scaled_dot_product_attention: _shape_attention,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func not in self.shapes or not inputs[0].is_meta:
            return func(*args, **kwargs)
        result = self.shapes[func](*args, **kwargs)
        self.dispatch.count(func.__name__, inputs, result)
        return result


def _shape_norm(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.empty_like(x)


def _shape_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return query.new_empty(*query.shape[:-1], value.shape[-1])


def _copies_to_host(func: Any, args: Any, kwargs: Any) -> bool:
    if func is _aten._to_copy.default:
        device = kwargs.get("device")
        return bool(args[0].is_meta and device is not None and torch.device(device).type == "cpu")
    return func is _aten.copy_.default and args[1].is_meta and args[0].device.type == "cpu"


def _is_cpu_number(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not tensor.ndim


def _measure(tensor: Tensor) -> int:
    """Return the bytes that a kernel reads or writes of a tensor; what is expanded is read once."""
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return math.prod(sizes) * tensor.itemsize if tensor.numel() else 0
