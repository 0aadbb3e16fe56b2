"""Which contract holds for a model: the one order of precedence, with the source named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...samplers.contract import CONTRACT_KEY, ContractError, SamplingContract
from ...training_rules import is_high_noise
from ..contract_files import read_contract
from .reading import load_known_students
from .student import KnownStudent, KnownStudents

__all__ = ["FoundContract", "find_by_names", "find_contract", "sample_alike"]


@dataclass(frozen=True)
class FoundContract:
    """A contract and where it comes from.

    Args:
        contract: The contract, or None where nothing says how to sample or names say several things.
        origin: Where it was found, in words.
        student: The known student that a name belongs to, where it was recognised by one.
        candidates: Where names say several things, all of them.
    """

    contract: SamplingContract | None = None
    origin: str = "nothing says how to sample it"
    student: KnownStudent | None = None
    candidates: tuple[FoundContract, ...] = ()

    def require(self) -> SamplingContract:
        """Return the contract.

        Raises:
            ContractError: There is none, or there are several.
        """
        if self.contract is not None:
            return self.contract
        if self.student is not None:
            raise ContractError(f"{self.student.title}: no contract says how to sample it. {self.student.cannot_run}")
        if self.candidates:
            listed = "; ".join(found._format_candidate() for found in self.candidates)
            raise ContractError(
                f"contract: there are several that differ: {listed}. Connect the one you mean (WanLiteKnownContract), "
                "or name it."
            )
        raise ContractError(f"contract: {self.origin}; connect or name one.")

    def _format_candidate(self) -> str:
        return self.origin if self.student is None else f"{self.student.id} ({self.origin})"


def find_contract(
    files: Iterable[str | os.PathLike[str]] = (),
    *,
    connected: SamplingContract | None = None,
    headers: Sequence[tuple[str, Mapping[str, Any]]] = (),
    students: KnownStudents | None = None,
) -> FoundContract:
    """Return the contract of a model that is made of ``files``: a checkpoint, and the LoRA that are applied to it.

    In this order: the connected one; the headers of checkpoint and LoRA; sidecars; what the files' names say; nothing.
    Where two of one rank sample differently, all of them are candidates and none is taken.

    Args:
        files: Of the model, the checkpoint and every LoRA; a file that does not exist still has a name.
        connected: What somebody chose.
        headers: (name for messages, metadata) of files that were read already.
        students: The known students; None loads them with the user's own.

    Raises:
        ContractError: A contract in a header or a sidecar cannot be read.
    """
    if connected is not None:
        return FoundContract(connected, "connected")
    paths = [Path(file) for file in files]
    known = students or load_known_students()
    ranks: tuple[Callable[[], Iterator[FoundContract]], ...] = (
        lambda: (found for found in _find_in_files(headers, paths) if _is_declared(found)),
        lambda: (found for found in _find_in_files((), paths) if not _is_declared(found)),
        lambda: _find_by_names(paths, known),
    )
    for rank in ranks:
        found = _choose_one(list(rank()))
        if found is not None:
            return found
    return FoundContract()


def find_by_names(files: Iterable[str | os.PathLike[str]], students: KnownStudents | None = None) -> FoundContract:
    """Return what the names of files alone say; the files need not exist."""
    known = students or load_known_students()
    return _choose_one(list(_find_by_names([Path(file) for file in files], known))) or FoundContract()


def sample_alike(one: SamplingContract, other: SamplingContract) -> bool:
    """Whether two contracts ask for the same sampling: solver, sigmas, timesteps, guidance, experts, causal blocks."""
    return _get_sampling(one) == _get_sampling(other)


def _get_sampling(contract: SamplingContract) -> tuple[object, ...]:
    schedule, boundary = contract.schedule(), contract.expert_boundary
    fed = [schedule.timestep_at(sigma) for sigma in schedule.sigma_values[:-1]]
    experts = None if boundary is None else [is_high_noise(timestep, boundary) for timestep in fed]
    rule = (contract.solver, contract.prediction, contract.cfg, contract.causal)
    return *rule, schedule.sigma_values, tuple(fed), experts and tuple(experts)


def _find_in_files(headers: Sequence[tuple[str, Mapping[str, Any]]], files: Sequence[Path]) -> Iterator[FoundContract]:
    for name, metadata in headers:
        text = metadata.get(CONTRACT_KEY)
        if text is not None:
            contract = SamplingContract.from_json(text, origin=name, source="declared")
            yield FoundContract(contract, f"in the header of {name}")
    for file in files:
        found = read_contract(file) if file.exists() else None
        if found is not None:
            place = "in the header of" if found.source == "declared" else "beside"
            yield FoundContract(found, f"{place} {file.name}")


def _is_declared(found: FoundContract) -> bool:
    return found.contract is not None and found.contract.source == "declared"


def _find_by_names(files: Sequence[Path], known: KnownStudents) -> Iterator[FoundContract]:
    for file in files:
        seen = known.recognise(file)
        for student in seen.students:
            origin = f"{student.title}, recognised by the name {seen.name}"
            yield FoundContract(student.contract(seen.role), origin, student)


def _choose_one(found: list[FoundContract]) -> FoundContract | None:
    """Return the one of several that sample alike, all as candidates where they do not, None where there is none."""
    if any(not _is_alike(found[0], other) for other in found[1:]):
        return FoundContract(candidates=tuple(found))
    origin = "; ".join(dict.fromkeys(one.origin for one in found))
    return replace(found[0], origin=origin) if found else None


def _is_alike(one: FoundContract, other: FoundContract) -> bool:
    if one.contract is None or other.contract is None:
        return one.contract is other.contract and one.student == other.student
    return sample_alike(one.contract, other.contract)
