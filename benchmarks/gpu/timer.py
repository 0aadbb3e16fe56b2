"""Time on a card by its own events, on a processor by the clock; all take turns, the figures are medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["Measured", "Timer"]

Work = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """What one implementation took.

    Attributes:
        seconds: Of each round.
        peak_mib: Most memory of the card above what was there before, None on a processor.
    """

    seconds: tuple[float, ...]
    peak_mib: float | None = None

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Timer:
    """Times work on one device.

    Args:
        device: Where the work runs.
        rounds: How many times each is timed.
        warm_up: How many rounds before them are not timed.
    """

    device: torch.device
    rounds: int = 7
    warm_up: int = 2

    def measure(self, works: Mapping[str, Work]) -> dict[str, Measured]:
        """Time all works once in each round, in the order given.

        Args:
            works: By the names to report.
        """
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for number in range(self.warm_up + self.rounds):
            for name, work in works.items():
                taken = self.time(work)
                if number >= self.warm_up:
                    seconds[name].append(taken)
        return {name: Measured(tuple(seconds[name]), self.find_peak(work)) for name, work in works.items()}

    def time(self, work: Work) -> float:
        """Return the seconds of one call."""
        with torch.inference_mode():
            if self.device.type != "cuda":
                started = time.perf_counter()
                work()
                return time.perf_counter() - started
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(self.device)
            first.record()
            work()
            last.record()
            torch.cuda.synchronize(self.device)
            return first.elapsed_time(last) / 1000

    def find_peak(self, work: Work) -> float | None:
        """Return the MiB that one call takes above what was there before."""
        if self.device.type != "cuda":
            return None
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self.time(work)
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20
