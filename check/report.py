"""What a check finds: samplers with their levels, and findings with remedies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from .graph.graph import Path

__all__ = [
    "DOUBTFUL",
    "NOTE",
    "SEVERITIES",
    "WRONG",
    "Change",
    "Finding",
    "Report",
    "SamplerReport",
    "show",
    "show_all",
]

WRONG, DOUBTFUL, NOTE = "wrong", "doubtful", "note"
SEVERITIES = (WRONG, DOUBTFUL, NOTE)


@dataclass(frozen=True)
class Change:
    """A value that mends a finding: ``path`` leads to its place in the file, None where several nodes share it."""

    node: str
    input: str
    value: Any
    path: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that a workflow does and its models' training did not.

    Attributes:
        id: Kind of finding; ``wan-lite check --explain ID`` tells more.
        severity: "wrong", "doubtful" or "note".
        node: Id of the node that it is about.
        title: Of that node.
        message: What will happen, and what training or the official code did, in numbers.
        source: Where the latter was read.
        remedy: What to change.
        changes: The same as values, where it is nothing but values.
    """

    id: str
    severity: str
    node: str
    title: str
    message: str
    source: str = ""
    remedy: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def is_mendable(self) -> bool:
        """Whether changed values alone remove it."""
        return bool(self.changes) and all(change.path is not None for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as it is printed with ``--json``."""
        names = ("id", "severity", "node", "title", "message", "source", "remedy")
        changes = [{"node": c.node, "input": c.input, "value": c.value} for c in self.changes if self.is_mendable]
        return {**{name: getattr(self, name) for name in names}, "changes": changes}


@dataclass(frozen=True)
class SamplerReport:
    """One sampler: levels with the final one, and what the network is fed; None where the file does not tell."""

    node: str
    title: str
    sigmas: tuple[float, ...] | None
    timesteps: tuple[float, ...] | None
    unknown: str = ""
    """Why they cannot be told."""
    sampler: str = ""
    model: str = ""
    shift: float | None = None
    cfg: float | None = None
    seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the sampler as it is printed with ``--json``."""
        return {
            "node": self.node,
            "title": self.title,
            "sigmas": None if self.sigmas is None else [_round_for_json(level) for level in self.sigmas],
            "timesteps": None if self.timesteps is None else [_round_for_json(t) for t in self.timesteps],
            **{name: getattr(self, name) for name in ("unknown", "sampler", "model", "shift", "cfg", "seed")},
        }


@dataclass(frozen=True)
class Report:
    """All that a check says of one file."""

    path: FilePath
    samplers: tuple[SamplerReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    error: str = ""
    """Why the file could not be read, in one sentence."""
    is_workflow: bool = True
    """False where the file is sound, but no workflow."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it is printed with ``--json``."""
        found: dict[str, Any] = {
            "path": str(self.path),
            "samplers": [sampler.to_dict() for sampler in self.samplers],
            "findings": [finding.to_dict() for finding in self.findings],
        }
        return {**found, "error": self.error} if self.error else found

    @property
    def severities(self) -> set[str]:
        """The severities that occur."""
        return {finding.severity for finding in self.findings}


def show(number: float) -> str:
    """Return a number with four significant digits."""
    return f"{number:.4g}"


def show_all(numbers: Iterable[float]) -> str:
    """Return numbers as a list in words, shortened where it is long."""
    found = list(numbers)
    text = ", ".join(map(show, found[:8]))
    return f"{text}, ... ({len(found)} in all)" if len(found) > 8 else text


def _round_for_json(number: float) -> float | None:
    """Nine significant digits; JSON has no infinity."""
    return float(f"{number:.9g}") if math.isfinite(number) else None
