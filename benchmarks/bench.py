"""What every case is given, and the one way in which implementations are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from .peers import Peers
from .records import Entry, Figure, Outcome, Row, Spread
from .timing import Call, Rounds, take_turns

__all__ = ["Bench", "Case", "measure_distance"]

T = TypeVar("T")


@dataclass(frozen=True)
class Bench:
    """Where and how a case measures.

    Attributes:
        folder: For files that it writes: weights of random numbers, and the like.
        peers: The programs beside it.
        rounds: Timed rounds, at most.
        seconds: No round begins that would probably end later than this after the comparison's start.
        is_quick: Tiny sizes, to prove the program and not to measure.
    """

    folder: Path
    peers: Peers = field(default_factory=Peers)
    rounds: int = 5
    seconds: float = 150.0
    is_quick: bool = False

    def compare(
        self,
        what: str,
        calls: Mapping[str, Call[T]],
        *,
        reference: str = "",
        distance: Callable[[T, T], float | None] | None = None,
        warm_up: int = 1,
    ) -> Row:
        """Time all in turn; the first is the one to which ratios refer.

        Args:
            what: The work.
            calls: By implementation.
            reference: Whose result the others' are compared with; the first one's where it is absent.
            distance: Between a result and the reference's.
            warm_up: Rounds before those that are timed.
        """
        found = take_turns(calls, self.rounds, warm_up=warm_up, seconds_left=self.seconds)
        reference = reference if reference in calls else next(iter(calls))
        apart = {
            who: None if distance is None else distance(found.results[who], found.results[reference]) for who in calls
        }
        entries = tuple(make_entry(who, found, apart[who]) for who in calls)
        return Row(what, entries, reference if distance else "", found.count)

    def conclude(self, **parts: Any) -> Outcome:
        """Return the outcome of a case with how it was measured; tiny sizes have no limits to keep."""
        settings = {"rounds": self.rounds, "budget": self.seconds, **parts.pop("settings", {})}
        figures: tuple[Figure, ...] = tuple(parts.pop("figures", ()))
        if self.is_quick:
            figures = tuple(replace(figure, least=None, most=None) for figure in figures)
        return Outcome(settings=settings, figures=figures, **parts)


@dataclass(frozen=True)
class Case:
    """One part of the table, measured on its own.

    Attributes:
        name: By which it is chosen.
        section: The heading of the table under which it stands.
        measure: What does it.
    """

    name: str
    section: str
    measure: Callable[[Bench], Outcome]


def make_entry(who: str, found: Rounds[Any], distance: float | None) -> Entry:
    """Return what the rounds say of one implementation."""
    taken, first = found.median(who), next(iter(found.seconds))
    ratios = found.ratios(who, to=first)
    if who == first:
        return Entry(who, taken.wall, taken.cpu, distance=distance)
    wall, cpu = (Spread.of([getattr(ratio, kind) for ratio in ratios]) for kind in ("wall", "cpu"))
    return Entry(who, taken.wall, taken.cpu, wall, cpu, distance)


def measure_distance(result: Tensor, reference: Tensor) -> float:
    """Return the largest absolute difference."""
    return float((result.float() - reference.float()).abs().max())


def make_noise(*shape: int, seed: int = 1) -> Tensor:
    """Return normal numbers that depend on the seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
