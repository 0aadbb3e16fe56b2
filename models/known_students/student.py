"""The record of a known student and the collection of all of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ...printable import SentenceError
from .names import LEVELS_UP, NameRule, expert_role, name_parts, normal_name

if TYPE_CHECKING:
    from ...samplers.contract import SamplingContract

__all__ = ["Alternative", "KnownStudent", "KnownStudents", "KnownStudentsError", "Recognition", "Source"]


class KnownStudentsError(SentenceError):
    """A data file of known students that cannot be read, said in one sentence."""


@dataclass(frozen=True)
class Alternative:
    """Another contract that is legitimate for the same files: what differs, and since when or by whom."""

    why: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a fact was read: a repository, a commit and paths in it, and what it says where it does not say all."""

    repository: str
    commit: str
    paths: tuple[str, ...]
    says: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit} {', '.join(self.paths)}" + (f" ({self.says})" if self.says else "")


@dataclass(frozen=True)
class KnownStudent:
    """One family, or one file of it, as the data file has it.

    Args:
        id: Name for contracts, commands and saved workflows; never changes. title: for people.
        of: The models that it is a student of.
        fields: The contract's JSON fields, or None where no contract can say it. alternatives: other contracts.
        names: Rules for the names of its files. weights: how they are recognised otherwise.
        core: Sampler, scheduler, steps and shift of ComfyUI's own that are exact. recipes: others in use.
        cannot_run: Why no network in ComfyUI's core can run it, or "".
        sources, remarks: Where it was read; what is disputed or special.
    """

    id: str
    title: str
    of: tuple[str, ...] = ()
    fields: Mapping[str, Any] | None = None
    names: tuple[NameRule, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    weights: str = ""
    core: Mapping[str, Any] = field(default_factory=dict)
    recipes: tuple[Mapping[str, Any], ...] = ()
    cannot_run: str = ""
    sources: tuple[Source, ...] = ()
    remarks: tuple[str, ...] = ()

    def contract(self, role: str | None = None) -> SamplingContract | None:
        """Return the contract with its alternatives, marked as recognised, or None where there is none.

        Args:
            role: "high", "low" or "both", where the file's name says which expert it is.

        Raises:
            KnownStudentsError: The data file's fields are not a contract.
        """
        if self.fields is None:
            return None
        # imported here: recognising names needs no torch
        from ...samplers.contract import ContractError, SamplingContract

        own = {**self.fields, **({"role": role} if role else {})}
        others = [self._apply_changes(own, other.changes) for other in self.alternatives]
        text = json.dumps({"version": 2, **own, **({"alternatives": others} if others else {})})
        try:
            return SamplingContract.from_json(text, origin=f"known student {self.id!r}", source="recognised")
        except ContractError as error:
            raise KnownStudentsError(str(error)) from None

    @staticmethod
    def _apply_changes(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**fields, **changes}.items() if value is not None}


@dataclass(frozen=True)
class Recognition:
    """What a path's names say: the students that they may be (none, one or several), the expert, the telling name."""

    students: tuple[KnownStudent, ...] = ()
    role: str | None = None
    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.students)


@dataclass(frozen=True)
class KnownStudents:
    """All known students by id, the names that say nothing by themselves, and those of which nothing is known."""

    students: Mapping[str, KnownStudent]
    silent: tuple[re.Pattern[str], ...]
    unknown: tuple[tuple[re.Pattern[str], str], ...]

    def recognise(self, path: str | os.PathLike[str]) -> Recognition:
        """Return the students that the name of a file or folder, ``path``, belongs to.

        A name that says nothing (``model.pt``, ``high_noise_model.safetensors``) counts only together with its folder.
        """
        *folders, name = name_parts(path)
        folders = folders[: -LEVELS_UP - 1 : -1]  # the nearest first
        stem, above = normal_name(name), [normal_name(folder) for folder in folders]
        if not any(pattern.search(stem) for pattern in self.silent):
            return Recognition(
                self._find_fitting(partial(NameRule.weigh_name, stem=stem, folders=above)), expert_role(path), name
            )
        for text, folder in zip(above, folders, strict=True):
            found = self._find_fitting(partial(NameRule.weigh_folder, stem=stem, folder=text))
            if found:
                return Recognition(found, expert_role(path), folder)
        return Recognition()

    def explain_unknown(self, name: str | os.PathLike[str]) -> str | None:
        """Return why nothing is said of ``name``, a few-step file of another family, or None for all other names."""
        stem = normal_name(name_parts(name)[-1])
        return next((why for pattern, why in self.unknown if pattern.search(stem)), None)

    def _find_fitting(self, weight: Callable[[NameRule], int]) -> tuple[KnownStudent, ...]:
        """Return the students with the rule that says most about a name (a name and its folder say more than one)."""
        weights = {id: max(map(weight, student.names), default=0) for id, student in self.students.items()}
        most = max(weights.values(), default=0)
        return tuple(self.students[id] for id, found in weights.items() if most and found == most)
