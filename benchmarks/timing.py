"""Fair timing: all take turns in one process; the figures are medians, and medians of the ratios within a round.

A busy machine slows a whole round down and leaves its ratios alone. The processor's time stands beside the clock's,
because other work on the machine lengthens only the second.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

__all__ = ["Call", "Rounds", "Seconds", "take_turns", "time_call"]

T = TypeVar("T")


@dataclass(frozen=True)
class Seconds:
    """How long something took: on the clock, and of all processors together."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Call(Generic[T]):
    """Something to time.

    Attributes:
        run: What is timed.
        prepare: Called before each run and not timed: what belongs to a fresh start and not to the work.
    """

    run: Callable[[], T]
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True)
class Rounds(Generic[T]):
    """What each name took in each round, and what it returned last."""

    seconds: Mapping[str, list[Seconds]]
    results: Mapping[str, T]

    def median(self, name: str) -> Seconds:
        """Return the median time of a name."""
        return _take_median(self.seconds[name])

    def ratio(self, name: str, to: str) -> Seconds:
        """Return the median, over the rounds, of a name's time over that of another: above 1, the other is faster."""
        return _take_median(self.ratios(name, to))

    def ratios(self, name: str, to: str) -> list[Seconds]:
        """Return the same for each round."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return [Seconds(a.wall / b.wall, a.cpu / max(b.cpu, 1e-9)) for a, b in pairs]

    @property
    def count(self) -> int:
        """Timed rounds."""
        return min(map(len, self.seconds.values()))


def take_turns(
    calls: Mapping[str, Call[T]], rounds: int, *, warm_up: int = 0, seconds_left: float = math.inf
) -> Rounds[T]:
    """Time all calls once in each round, in the order given.

    Args:
        calls: What to time, by the names to report.
        rounds: Timed rounds.
        warm_up: Rounds before them that are not timed.
        seconds_left: No further round begins that would probably end later; one is always timed.
    """
    seconds: dict[str, list[Seconds]] = {name: [] for name in calls}
    results: dict[str, T] = {}
    started = time.perf_counter()
    for number in range(warm_up + rounds):
        passed = time.perf_counter() - started
        if number > warm_up and passed * (number + 1) / number > seconds_left:
            break
        for name, call in calls.items():
            taken, results[name] = time_call(call)
            if number >= warm_up:
                seconds[name].append(taken)
    return Rounds(seconds, results)


def time_call(call: Call[T]) -> tuple[Seconds, T]:
    """Time one call, without gradients and with the garbage of others collected first."""
    if call.prepare is not None:
        call.prepare()
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        result = call.run()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), result


def _take_median(taken: list[Seconds]) -> Seconds:
    return Seconds(statistics.median(one.wall for one in taken), statistics.median(one.cpu for one in taken))
