"""Work in batches that fit: half of one is tried where the whole took more memory than there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

__all__ = ["is_out_of_memory", "run_batches"]

log = logging.getLogger(__name__)

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, in the words of any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in said or "not enough memory" in said)


def run_batches(run: Callable[[int, int], T], count: int) -> Iterator[T]:
    """Do ``count`` items of work at once, or in as many batches as the memory needs.

    Args:
        run: ``run(first, count)`` does the items from ``first`` on and returns their result.
        count: Items in all.

    Yields:
        The result of each batch, in order.

    Raises:
        MemoryError, RuntimeError: Not even one item fits.
    """
    first, size = 0, count
    while first < count:
        now = min(size, count - first)
        try:
            result = run(first, now)
        except (MemoryError, RuntimeError) as error:
            if now == 1 or not is_out_of_memory(error):
                raise
            size = (now + 1) // 2
            log.warning("not enough memory for %d at once; trying %d", now, size)
        else:
            yield result
            first += now
            continue
        # outside of the except clause, whose traceback keeps the failed batch's tensors alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
