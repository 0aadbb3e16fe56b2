"""What every rule is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...models.known_students import KnownStudents
from ..report import Change, Finding
from ..trace.follow import Value
from ..trace.models import LoadedFile, ModelTrace
from ..trace.runs import Run
from ..trace.samplers import SamplerUse, Survey
from ..training import Training, find_trainings

__all__ = ["Case", "change_to", "finding_at"]


@dataclass
class Case:
    """A surveyed graph and what is known of students."""

    survey: Survey
    students: KnownStudents
    runs: list[Run]
    declared: dict[str, list[Training]] = field(default_factory=dict)
    """Contracts found in the files themselves, by file name."""
    _known: dict[str, list[list[Training]]] = field(default_factory=dict)

    def trainings(self, model: ModelTrace) -> Iterator[tuple[LoadedFile, list[list[Training]]]]:
        """Yield the files of a MODEL that are students, with the ways in which each may have been trained."""
        for file in (*((model.file,) if model.file else ()), *model.loras):
            key = f"{file.node.id}:{file.name}"
            if key not in self._known:
                own = self.declared.get(file.name)
                self._known[key] = [own] if own else find_trainings(file, self.students)
            if self._known[key]:
                yield file, self._known[key]


def change_to(value: Value | None, new: object) -> Change | None:
    """Return the change of a typed value, or None where the value is computed."""
    if value is None or value.node is None or value.input is None:
        return None
    return Change(value.node, value.input, new, value.path)


def finding_at(use: SamplerUse, id: str, severity: str, message: str, **more: object) -> Finding:
    """Return a finding about a sampler."""
    return Finding(id, severity, use.node.id, use.node.title, message, **more)  # type: ignore[arg-type]
