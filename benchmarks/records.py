"""What a run measured, as records that are written as JSON, read again, and merged case by case."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Figure", "Outcome", "Row", "Run", "Spread", "is_absent", "read_runs"]

OURS = "Wan Lite"
"""How this package is named among those that are compared."""


@dataclass(frozen=True)
class Spread:
    """The median of paired ratios, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Entry:
    """One implementation in a row; what was not measured is None.

    Attributes:
        who: The implementation, and what is special about it (``Wan Lite, bf16``).
        wall: Median seconds on the clock.
        cpu: Median seconds of all processors together.
        ratio: Its time on the clock over that of the row's first entry: above 1, the first is faster.
        cpu_ratio: The same of the processors' time.
        distance: Largest difference of its result from the reference's; the reference itself has 0.
        peak: MB of memory above what was there before the work.
    """

    who: str
    wall: float | None = None
    cpu: float | None = None
    ratio: Spread | None = None
    cpu_ratio: Spread | None = None
    distance: float | None = None
    peak: float | None = None

    @property
    def times_slower(self) -> float | None:
        """How many times the first entry's time it takes, by the clock or by the processors: whichever is less.

        Neighbours on a machine lengthen the clock's time alone, and not of all alike.
        """
        found = [spread.median for spread in (self.ratio, self.cpu_ratio) if spread is not None]
        return min(found) if found else None

    @property
    def most_times_slower(self) -> float | None:
        """The same, whichever is more: for what should take at most so much."""
        found = [spread.median for spread in (self.ratio, self.cpu_ratio) if spread is not None]
        return max(found) if found else None


@dataclass(frozen=True)
class Row:
    """One piece of work, done by each of several implementations; the first is the one that ratios refer to.

    Attributes:
        what: The work.
        entries: The implementations.
        reference: The one whose result the others' are compared with.
        count: Timed rounds; None where they were not counted.
    """

    what: str
    entries: tuple[Entry, ...]
    reference: str = ""
    count: int | None = None


@dataclass(frozen=True)
class Figure:
    """One number, and between which limits it should lie.

    Attributes:
        what: What was measured.
        value: Its number.
        unit: Its unit.
        least: It should not be less.
        most: It should not be more.
    """

    what: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the value lies between its limits, where it has any."""
        lowest, highest = (
            (-math.inf if self.least is None else self.least),
            (math.inf if self.most is None else self.most),
        )
        return lowest <= self.value <= highest

    @property
    def has_limits(self) -> bool:
        """Whether there is a limit."""
        return self.least is not None or self.most is not None


@dataclass(frozen=True)
class Outcome:
    """What one case measured.

    Attributes:
        rows: Comparisons.
        figures: Single numbers.
        settings: How it was measured: day, peers, threads, rounds and seconds allowed, load before it, seconds taken.
        points: Lines of the plot: name -> (x, y) pairs.
    """

    rows: tuple[Row, ...] = ()
    figures: tuple[Figure, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    points: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """All that one machine measured.

    Attributes:
        name: Of the run; its file is called so.
        machine: Processor, flags, versions, peers.
        cases: By name.
    """

    name: str
    machine: Mapping[str, Any]
    cases: Mapping[str, Outcome]

    @property
    def is_timed(self) -> bool:
        """Whether it was measured by this program, and is not a list of ratios from elsewhere."""
        return "kept" not in self.machine

    def merge(self, later: Run) -> Run:
        """Return this run with the cases of a later one in place of its own of the same names.

        A peer that is absent from the later one keeps the version that is known, since its rows stay as well.
        """
        peers, found = dict(self.machine.get("peers", {})), later.machine.get("peers", {})
        peers |= {who: said for who, said in found.items() if who not in peers or not is_absent(said)}
        machine = {**self.machine, **later.machine, "peers": peers}
        return Run(self.name, machine, {**self.cases, **later.cases})

    def write(self, path: Path) -> None:
        """Write the run as JSON."""
        content = {"machine": self.machine, "cases": {name: _shorten(asdict(one)) for name, one in self.cases.items()}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read what :meth:`write` wrote."""
        content = json.loads(path.read_text("utf-8"))
        return cls(path.stem, content["machine"], {name: _to_outcome(one) for name, one in content["cases"].items()})


def is_absent(said: str) -> bool:
    """Return whether what is said of a peer is that it was absent."""
    return said.startswith("absent")


def read_runs(folder: Path) -> list[Run]:
    """Read every run of a folder, the newest first."""
    runs = [Run.read(path) for path in sorted(folder.glob("*.json"))]
    return sorted(runs, key=lambda run: str(run.machine.get("date", "")), reverse=True)


def _shorten(content: Any) -> Any:
    """Drop what was not measured, and digits that say nothing."""
    if isinstance(content, dict):
        return {
            key: _shorten(value) for key, value in content.items() if value is not None and value != {} and value != ()
        }
    if isinstance(content, list | tuple):
        return [_shorten(value) for value in content]
    return float(f"{content:.4g}") if isinstance(content, float) else content


def _to_outcome(content: Mapping[str, Any]) -> Outcome:
    rows = tuple(
        Row(
            row["what"], tuple(_to_entry(entry) for entry in row["entries"]), row.get("reference", ""), row.get("count")
        )
        for row in content.get("rows", ())
    )
    figures = tuple(Figure(**figure) for figure in content.get("figures", ()))
    points = {name: [(x, y) for x, y in line] for name, line in content.get("points", {}).items()}
    return Outcome(rows, figures, content.get("settings", {}), points)


def _to_entry(content: Mapping[str, Any]) -> Entry:
    spreads = {name: Spread(**content[name]) for name in ("ratio", "cpu_ratio") if name in content}
    return Entry(**{**content, **spreads})
