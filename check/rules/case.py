"""What every rule is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..knowledge import Knowledge
from ..report import Change, Finding
from ..trace.follow import Value
from ..trace.models import LoadedFile, ModelTrace
from ..trace.runs import Run
from ..trace.samplers import SamplerUse, Survey
from ..training import Training

__all__ = ["Case", "change_to", "finding_at", "number_of", "only", "plain"]


@dataclass(frozen=True)
class Case:
    """A surveyed graph and what is known of its files."""

    survey: Survey
    knowledge: Knowledge
    runs: list[Run]

    def trainings(self, model: ModelTrace) -> Iterator[tuple[LoadedFile, list[list[Training]]]]:
        """Yield the files of a MODEL that are students, with the ways in which each may have been trained."""
        for file in model.files:
            if found := self.knowledge.trainings(file):
                yield file, found


def number_of(value: Value | None) -> float | None:
    """Return a value as a number, or None where it is none."""
    try:
        return None if value is None else float(value.value)
    except (TypeError, ValueError):
        return None


def only(change: Change | None) -> tuple[Change, ...]:
    """Return the changes of a finding that has at most one."""
    return (change,) if change else ()


def plain(number: float) -> float:
    """Return a whole number as an integer, as files have it."""
    return int(number) if float(number).is_integer() else number


def change_to(value: Value | None, new: object) -> Change | None:
    """Return the change of a typed value, or None where the value is computed."""
    if value is None or value.node is None or value.input is None:
        return None
    return Change(value.node, value.input, new, value.path)


def finding_at(use: SamplerUse, id: str, severity: str, message: str, **more: object) -> Finding:
    """Return a finding about a sampler."""
    return Finding(id, severity, use.node.id, use.node.title, message, **more)  # type: ignore[arg-type]
