"""Memory at the level of operators: the largest single allocation, and the most that is alive at a time."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .timing import Call

__all__ = ["Allocations", "measure_allocations"]


class Allocations(TorchDispatchMode):
    """Counts the storages that operators make: the largest, and the most bytes alive at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.alive = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for given in tree_leaves((args, kwargs or {})):
            if isinstance(given, Tensor):
                self.known.add(given.untyped_storage()._cdata)
        result = function(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made.untyped_storage()._cdata not in self.known:
                self._add(made.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), storage._cdata
        self.known.add(key)
        self.largest, self.alive = max(self.largest, size), self.alive + size
        self.peak = max(self.peak, self.alive)

        def gone() -> None:
            self.alive -= size
            self.known.discard(key)

        weakref.finalize(storage, gone)


def measure_allocations(call: Call[Tensor], latent: Tensor) -> tuple[float, float]:
    """Return the largest allocation and the most alive at a time, in latents, without input and network's output."""
    if call.prepare is not None:
        call.prepare()
    with torch.no_grad(), Allocations() as seen:
        call.run()
    return seen.largest / latent.nbytes, seen.peak / latent.nbytes
