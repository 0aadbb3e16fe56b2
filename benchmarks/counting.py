"""Counting what a graphics card would do, without one: networks run on the meta device, where only shapes exist.

A fused norm and a fused attention are one kernel each on a card, whereas the meta device takes them apart: here they
are counted as one. Views are no kernels. A memory-bound kernel reads each input and writes each output once.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Counts", "count_calls"]

_aten = torch.ops.aten
_READS = {
    _aten.item.default,
    _aten._local_scalar_dense.default,
    _aten.nonzero.default,
    _aten.equal.default,
    _aten.is_nonzero.default,
    _aten.masked_select.default,
}
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
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
        copies_to_host: Results that the host waited for: copies of more than a few values.
        mixed: Kernels whose tensors lay on different devices, by name.
    """

    launches: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    host_reads: int = 0
    copies_to_host: int = 0
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
def count_calls(device: str = "meta") -> Iterator[Counts]:
    """Count what runs inside on tensors of a device; what lies on others is the host's, and is not counted.

    Args:
        device: By its type. On any but ``meta`` the kernels really run.
    """
    counts = Counts()
    dispatch = _Dispatch(counts, device)
    with _Fused(dispatch), dispatch:
        yield counts


class _Dispatch(TorchDispatchMode):
    """Counts each operation as it reaches a device."""

    def __init__(self, counts: Counts, device: str) -> None:
        super().__init__()
        self.counts, self.device = counts, device
        self.live, self.alive = dict[int, int](), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and _is_composite(func):  # elsewhere taken apart before it comes here
            with self:
                return func.decompose(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        if self._is_read(func, args, inputs):
            self.counts.host_reads += 1
            if inputs[0].is_meta and func not in _INDEXING:
                return True if inputs[0].dtype == torch.bool else 0.0
        if _copies_to_host(func, args, kwargs):
            return self._copy_to_host(func, args)
        result = func(*args, **kwargs)
        self.count(name, inputs, result, is_view=func.is_view)
        return result

    def _is_read(self, func: Any, args: Any, inputs: list[Tensor]) -> bool:
        if func in _INDEXING:  # by a mask: how many there are is asked of the device first
            return any(index is not None and index.dtype == torch.bool and self._owns(index) for index in args[1])
        return func in _READS and self._owns(inputs[0])

    def _owns(self, tensor: Tensor) -> bool:
        return tensor.device.type == self.device

    def _copy_to_host(self, func: Any, args: Any) -> Tensor:
        """Take a copy from the meta device to the host for done: its values would be read there."""
        source = args[1] if func is _aten.copy_.default else args[0]
        self.counts.launches["copy_to_host"] += 1
        if source.numel() <= 16:
            self.counts.host_reads += 1
        else:
            self.counts.copies_to_host += 1
        if func is _aten.copy_.default:
            return args[0]
        return torch.full(source.shape, source.dtype == torch.bool, dtype=source.dtype)  # all is well

    def count(self, name: str, inputs: list[Tensor], result: Any, is_view: bool = False) -> None:
        """Count one operation with its inputs and its result or results."""
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not any(map(self._owns, (*inputs, *outputs))):
            return
        self._track(outputs, {tensor.untyped_storage()._cdata for tensor in inputs})
        if is_view or name in _ALLOCATIONS or name in ("detach", "_unsafe_view", "lift_fresh", "alias"):
            return
        if not sum(tensor.numel() for tensor in outputs):
            return
        moved = [*(inputs[1:] if name in _OVERWRITES else inputs), *outputs]
        self.counts.launches[name] += 1
        self.counts.bytes[name] += sum(_measure(tensor) for tensor in moved)
        devices = {tensor.device.type for tensor in moved if tensor.ndim}
        if len(devices) > 1:
            self.counts.mixed[name] += 1

    def _track(self, outputs: list[Tensor], known: set[int]) -> None:
        for tensor in outputs:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self.live and key not in known and not _is_cpu_number(tensor):
                self.live[key] = storage.nbytes()
                self.alive += storage.nbytes()
                weakref.finalize(storage, self._forget, key)
        self.counts.peak = max(self.counts.peak, self.alive)

    def _forget(self, key: int) -> None:
        self.alive -= self.live.pop(key, 0)


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


@cache
def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


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
