"""Which contract a run follows: the checkpoint's own, a named preset, and what the user changed on top."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ..models.known_students import KnownStudents, load_known_students
from ..models.student import Student, fit_contract
from ..on_mismatch import check_on_mismatch, raise_or_warn
from ..samplers.contract import PRESETS, SamplingContract
from ..samplers.formatting import format_contract
from ..samplers.mismatch import compare, drop_assumed, mark_changes
from ..samplers.prediction import Prediction
from ..samplers.solvers import SOLVERS

__all__ = [
    "SAMPLERS",
    "Overrides",
    "choose_alternative",
    "find_preset",
    "find_sampler",
    "override_contract",
    "parse_candidates",
    "parse_steps",
    "resolve_contract",
]


def _default_contract(solver: str) -> SamplingContract:
    """Return a solver with its own process and default schedule as a contract; its source is ``assumed``."""
    process, schedule = next(iter(SOLVERS[solver].schedules.items()))
    return SamplingContract(solver, Prediction.of_process(process), steps=schedule.steps, shift=schedule.shift)


SAMPLERS = {name.replace("_", "-"): _default_contract(name) for name in SOLVERS}
"""A sampler's name on the command line -> the contract that it means where the checkpoint says nothing."""


@dataclass(frozen=True)
class Overrides:
    """What the user asked for; None leaves it to the checkpoint.

    Args:
        preset: A name in ``PRESETS``.
        sampler: A name in ``SAMPLERS``.
        steps: Of the run.
        shift: Of the schedule.
        cfg: Guidance; 1 is none.
        size: "WIDTHxHEIGHT" in pixels.
    """

    preset: str | None = None
    sampler: str | None = None
    steps: int | None = None
    shift: float | None = None
    cfg: float | None = None
    size: str | None = None


def resolve_contract(student: Student, overrides: Overrides, *, on_mismatch: str = "error") -> SamplingContract:
    """Return the contract to sample with.

    Args:
        student: Whose own contract is the base.
        overrides: What the user asked for instead.
        on_mismatch: What to do where the overrides contradict the student's own contract, one of ``ON_MISMATCH``.

    Raises:
        ContractMismatch: They do, and ``on_mismatch`` is ``error``.
        ValueError: Neither the student nor the overrides say how to sample, or an override is out of its range.
    """
    check_on_mismatch(on_mismatch)
    wanted = _override(_find_base(student, overrides), overrides)
    wanted = replace(wanted, latent=_find_latent(student, overrides.size, wanted))
    declared = student.contract
    mismatches = [] if declared is None else drop_assumed(declared, compare(declared, wanted))
    problem = f"{student.source}: {' '.join(map(str, mismatches))}" if mismatches else None
    raise_or_warn([problem], on_mismatch, way_out=" Leave these options out, or continue with --on-mismatch warn.")
    return mark_changes(declared, wanted)


def find_preset(name: str, student: Student) -> SamplingContract:
    """Return a preset with the student's own latent, VAE and projection; its source is ``assumed``.

    Args:
        name: In ``PRESETS``.
        student: Whose sizes the contract takes.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"contract is {name!r}; known presets are {', '.join(map(repr, PRESETS))}.")
    return fit_contract(PRESETS[name], student.config, student.vae_channels)


def override_contract(contract: SamplingContract, **changes: Any) -> SamplingContract:
    """Return the contract with the changes that say something: 0, None and empty text leave it as it is.

    Args:
        contract: To be changed.
        **changes: Fields of a contract by name.

    Raises:
        ValueError: The changes do not make a contract.
    """
    return contract.with_changes(**{name: value for name, value in changes.items() if value})


def choose_alternative(contract: SamplingContract, number: int) -> SamplingContract:
    """Return a contract's alternative by its number, alone; 0 is the contract itself, with its alternatives.

    Raises:
        ValueError: There is none of that number.
    """
    if number == 0:
        return contract
    if not 0 < number <= len(contract.alternatives):
        raise ValueError(
            f"alternative is {number}; this contract has {len(contract.alternatives)}, so give 0 (itself) to "
            f"{len(contract.alternatives)}: {format_contract(contract)}."
        )
    return contract.alternatives[number - 1]


def parse_candidates(
    names: str, contract: SamplingContract | None = None, students: KnownStudents | None = None
) -> dict[str, SamplingContract]:
    """Return the contracts named in ``names``, one a line, and before them one that somebody has already.

    A contract with alternatives gives one candidate for each.

    Args:
        names: Presets, or ids of known students; empty lines count for nothing.
        contract: One more to try.
        students: The known students; None loads them.

    Raises:
        ValueError: A name is neither, or there is nothing to try.
    """
    found = {} if contract is None else _list_alternatives("connected contract", contract)
    for name in filter(None, map(str.strip, names.splitlines())):
        found |= _find_candidate(name, students or load_known_students())
    if not found:
        raise ValueError(f"candidates: there is nothing to try; name {_CANDIDATES}.")
    return found


_CANDIDATES = f"some of these, one a line: {'; '.join(PRESETS)}; or a known student (`wan-lite known` lists them)"


def _find_candidate(name: str, students: KnownStudents) -> dict[str, SamplingContract]:
    if name in PRESETS:
        return {name: PRESETS[name]}
    student = students.students.get(name)
    contract = None if student is None else student.contract()
    if contract is None:
        raise ValueError(f"candidates: {name!r} is neither a preset nor a known student; name {_CANDIDATES}.")
    return _list_alternatives(name, contract)


def _list_alternatives(name: str, contract: SamplingContract) -> dict[str, SamplingContract]:
    others = {f"{name}, alternative {n}": other for n, other in enumerate(contract.alternatives, 1)}
    return {name: contract, **others}


def parse_steps(text: str) -> list[int]:
    """Return the denoising steps written in ``text``, whole numbers with anything between them but letters.

    Args:
        text: Such as "1000, 750, 500, 250" or "[1000 757 522]".

    Raises:
        ValueError: There is anything else than whole numbers, or nothing.
    """
    words = re.split(r"[\s,;\[\]()]+", text.strip(" \t\r\n,;[]()"))
    if not all(re.fullmatch(r"\d{1,4}", word) for word in words):
        raise ValueError(f"denoising_steps is {text[:80]!r}; give whole numbers, such as 1000, 750, 500, 250.")
    return [int(word) for word in words]


def find_sampler(name: str) -> SamplingContract:
    """Return a solver with its default schedule as a contract; its source is ``assumed``.

    Args:
        name: In ``SAMPLERS``.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler is {name!r}; known are {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]


def _find_base(student: Student, overrides: Overrides) -> SamplingContract:
    if overrides.preset is not None:
        return find_preset(overrides.preset, student)
    if student.contract is not None:
        return student.contract
    if overrides.sampler is not None:
        return fit_contract(find_sampler(overrides.sampler), student.config, student.vae_channels)
    raise ValueError(
        f"{student.source}: says nothing about how to sample it; give --sampler ddim, --sampler flow-unipc or "
        "--contract PRESET, or find out with `wan-lite probe`."
    )


def _override(base: SamplingContract, overrides: Overrides) -> SamplingContract:
    if overrides.sampler is not None:
        base = _change_solver(base, find_sampler(overrides.sampler))
    changes = {name: value for name in ("steps", "shift", "cfg") if (value := getattr(overrides, name)) is not None}
    return base.with_changes(**changes)


def _change_solver(base: SamplingContract, named: SamplingContract) -> SamplingContract:
    """Return the contract with another solver, which brings its own prediction and schedule where it has to."""
    if named.solver == base.solver:
        return base
    if base.has_fixed_sigmas and base.process == named.process:
        return replace(base, solver=named.solver)  # the sigmas of training stay the right ones
    return base.with_plain_schedule(
        solver=named.solver, prediction=named.prediction, steps=named.steps, shift=named.shift
    )


def _find_latent(student: Student, size: str | None, contract: SamplingContract) -> tuple[int, int, int]:
    """The latent (channels, height, width) to sample: as asked for, else of the contract, else of training."""
    channels, side = student.config.num_channels, student.config.latent_size
    if size is None:
        return (channels, *contract.latent[1:]) if contract.latent else (channels, side, side)
    factor = student.spatial_factor
    match = re.fullmatch(r"(\d+)x(\d+)", size.lower())
    width, height = map(int, match.groups()) if match else (0, 0)
    if not width or not height or width % factor or height % factor:
        raise ValueError(
            f"size is {size!r}; give WIDTHxHEIGHT in pixels, both multiples of {factor} (this student was trained on "
            f"{student.pixel_size}x{student.pixel_size})."
        )
    return channels, height // factor, width // factor
