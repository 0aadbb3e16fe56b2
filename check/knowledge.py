"""What is known of the files that a workflow loads: published students by name, contracts in the files themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..models.known_students import KnownStudents, load_known_students
from .trace.follow import CannotTell
from .trace.models import LoadedFile
from .training import Training, find_trainings, make_declared_training

__all__ = ["ENDINGS", "Knowledge"]

ENDINGS = (".safetensors", ".sft")
"""Of files that may carry a contract in their header."""


class Knowledge:
    """Looks up the training of files.

    Args:
        students: The published ones; None takes the pack's data file and the user's own.
        models: Folders in which the files themselves may lie; a contract in a header or sidecar goes before a name.
        find: Returns where a file of that name lies, in place of a search below ``models``.
    """

    def __init__(
        self,
        students: KnownStudents | None = None,
        models: Iterable[Path] = (),
        find: Callable[[str], Path | None] | None = None,
    ) -> None:
        self.students = students or load_known_students()
        self._folders = tuple(models)
        self._find = find or self._find_below
        self._declared: dict[str, Mapping[str, Any] | None] = {}
        self._trainings: dict[str, list[list[Training]]] = {}

    def trainings(self, file: LoadedFile) -> list[list[Training]]:
        """Return the ways in which a file may have been trained: a list for each student that it may be."""
        key = f"{file.node.id}:{file.name}"
        if key not in self._trainings:
            fields = self._read_fields(file.name)
            own = None if fields is None else [[make_declared_training(file, fields, str(fields["source"]))]]
            self._trainings[key] = own or find_trainings(file, self.students)
        return self._trainings[key]

    def contract(self, file: LoadedFile) -> Mapping[str, Any] | CannotTell | None:
        """Return the contract that this pack's nodes find for a file, or None where nothing is known of it."""
        fields = self._read_fields(file.name)
        if fields is not None:
            return fields
        found = find_trainings(file, self.students)
        if len(found) > 1:
            names = ", ".join(ways[0].family for ways in found)
            return CannotTell(f"the name {file.name} may mean {names}")
        return _with_alternatives(found[0]) if found else None

    def family(self, name: str) -> Mapping[str, Any] | None:
        """Return the contract of a known student by its id, or None where there is none."""
        student = self.students.students.get(name)
        if student is None or student.fields is None:
            return None
        others = [other.changes for other in student.alternatives]
        return {**student.fields, "alternatives": [_change(student.fields, changes) for changes in others]}

    def _read_fields(self, name: str) -> Mapping[str, Any] | None:
        """Return the contract in a file's header or beside it; None where the file is not here or has none."""
        if name not in self._declared:
            path = self._find(name)
            self._declared[name] = None if path is None else _read(path)
        return self._declared[name]

    def _find_below(self, name: str) -> Path | None:
        """Find a file by its name below the model folders, and nowhere else; a longer path must fit whole."""
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part)
        found = self._index_files.get(parts[-1] if parts else "", [])
        return next((path for path in found if path.parts[-len(parts) :] == parts), None)

    @cached_property
    def _index_files(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        for folder in self._folders:
            for path in sorted(folder.rglob("*")):
                if path.suffix in ENDINGS or (path / "config.json").is_file():
                    index.setdefault(path.name, []).append(path)
        return index


def _with_alternatives(ways: list[Training]) -> Mapping[str, Any]:
    return {**ways[0].fields, "alternatives": [other.fields for other in ways[1:]]}


def _change(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def _read(path: Path) -> Mapping[str, Any] | None:
    from ..models.contract_files import read_contract

    try:
        contract = read_contract(path)
    except (ValueError, OSError):
        return None
    return None if contract is None else {**json.loads(contract.to_json()), "source": contract.source}
