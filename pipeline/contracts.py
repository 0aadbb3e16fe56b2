"""Which contract a run follows: the checkpoint's own, a named preset, and what the user changed on top."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..models.contract_files import stamp
from ..models.student import Student, fit_contract, load_student
from ..samplers.contract import PRESETS, ContractMismatch, SamplingContract, compare

__all__ = [
    "ON_MISMATCH",
    "SAMPLERS",
    "Wishes",
    "in_words",
    "parse_candidates",
    "preset_named",
    "settle_contract",
    "stamp_student",
]

log = logging.getLogger(__name__)

ON_MISMATCH = ("error", "warn", "ignore")
SAMPLERS = {"ddim": "ddim-20 run_inference", "flow-unipc": "flow_unipc-20 shift 5"}
"""A sampler's name on the command line -> the preset that it means where the checkpoint says nothing."""


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; None leaves it to the checkpoint. ``size`` is "WxH" in pixels."""

    preset: str | None = None
    sampler: str | None = None
    steps: int | None = None
    shift: float | None = None
    cfg: float | None = None
    size: str | None = None


def settle_contract(student: Student, wishes: Wishes, *, on_mismatch: str = "error") -> SamplingContract:
    """Return the contract to sample with.

    Args:
        on_mismatch: what to do where the wishes contradict the student's own contract: ``error``, ``warn`` (a line
            in the log) or ``ignore``.

    Raises:
        ContractMismatch: they do, and ``on_mismatch`` is ``error``.
        ValueError: neither the student nor the wishes say how to sample, or a wish is out of its range.
    """
    if on_mismatch not in ON_MISMATCH:
        raise ValueError(f"on_mismatch is {on_mismatch!r}; allowed: {', '.join(ON_MISMATCH)}.")
    wanted = _changed(_base(student, wishes), wishes)
    declared = student.contract
    # A contract that was only assumed is the user's own wish, so other wishes may change it.
    mismatches = [] if declared is None or declared.source == "assumed" else compare(declared, wanted)
    if mismatches and on_mismatch != "ignore":
        problem = " ".join(str(mismatch) for mismatch in mismatches)
        if on_mismatch == "error":
            raise ContractMismatch(
                f"{student.source}: {problem} Leave these options out, or go on with --on-mismatch warn."
            )
        log.warning("%s: %s", student.source, problem)
    if mismatches:
        wanted = replace(wanted, source="assumed")
    return replace(wanted, latent=_latent(student, wishes.size, wanted))


def preset_named(name: str, student: Student) -> SamplingContract:
    """Return a preset with the student's own latent, VAE and projection; its source is ``assumed``.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"contract is {name!r}; known presets are {', '.join(map(repr, PRESETS))}.")
    return fit_contract(PRESETS[name], student.config, student.vae_channels)


def parse_candidates(names: str, contract: SamplingContract | None = None) -> dict[str, SamplingContract]:
    """Return the presets named in ``names``, one a line, and before them a contract that somebody has already.

    Raises:
        ValueError: A name is not that of a preset, or there is nothing to try.
    """
    lines = [line.strip() for line in names.splitlines() if line.strip()]
    unknown = [name for name in lines if name not in PRESETS]
    if unknown or not (lines or contract):
        given = f"{unknown[0]!r} is not a preset" if unknown else "there is nothing to try"
        raise ValueError(f"candidates: {given}; name some of these, one a line: {'; '.join(PRESETS)}.")
    found = {name: PRESETS[name] for name in lines}
    return found if contract is None else {"connected contract": contract, **found}


def _base(student: Student, wishes: Wishes) -> SamplingContract:
    if wishes.preset is not None:
        return preset_named(wishes.preset, student)
    if student.contract is not None:
        return student.contract
    if wishes.sampler is not None:
        return preset_named(SAMPLERS[wishes.sampler], student)
    raise ValueError(
        f"{student.source}: says nothing about how to sample it; give --sampler ddim, --sampler flow-unipc or "
        "--contract PRESET, or find out with `wan-lite probe`."
    )


def _changed(base: SamplingContract, wishes: Wishes) -> SamplingContract:
    changes: dict[str, Any] = {}
    if wishes.sampler is not None:
        named = PRESETS[SAMPLERS[wishes.sampler]]
        if named.solver != base.solver:
            # Another solver brings its own way of reading the network and its own schedule.
            changes |= {"solver": named.solver, "prediction": named.prediction}
            changes |= {"steps": named.steps, "shift": named.shift}
    changes |= {name: value for name in ("steps", "shift", "cfg") if (value := getattr(wishes, name)) is not None}
    return replace(base, **changes)


def _latent(student: Student, size: str | None, contract: SamplingContract) -> tuple[int, int, int]:
    """The latent (channels, height, width) to paint: of the size asked for, else of the contract, else of training."""
    channels, side = student.config.num_channels, student.config.latent_size
    if size is None:
        return (channels, *contract.latent[1:]) if contract.latent else (channels, side, side)
    cell = student.spatial_factor
    match = re.fullmatch(r"(\d+)x(\d+)", size.lower())
    width, height = map(int, match.groups()) if match else (0, 0)
    if not width or not height or width % cell or height % cell:
        raise ValueError(
            f"size is {size!r}; give WIDTHxHEIGHT in pixels, both multiples of {cell} (this student was trained on "
            f"{student.pixel_size}x{student.pixel_size})."
        )
    return channels, height // cell, width // cell


def in_words(contract: SamplingContract) -> str:
    """Say a contract in one line."""
    latent = "x".join(map(str, contract.latent)) if contract.latent else "of unknown size"
    projection = ", then projected" if contract.output_projection else ""
    return (
        f"{contract.solver}, {contract.steps} steps, shift {contract.shift:g}, cfg {contract.cfg:g}, output read as "
        f"{contract.prediction}, latent {latent}{projection}, VAE {contract.vae} ({contract.source})"
    )


def stamp_student(
    path: str | os.PathLike[str],
    preset: str | None,
    file: str | os.PathLike[str] | None,
    changes: Mapping[str, Any],
    *,
    replace_existing: bool = False,
) -> tuple[Path, SamplingContract]:
    """Write a contract into the header of a student's weights and return the file and what was written.

    Args:
        preset, file: the name of a preset, or a JSON file; one of them. changes: fields set on top.

    Raises:
        ValueError: the student, the preset or the file cannot be read, or there is another contract already and
            ``replace_existing`` is False.
    """
    student = load_student(path, preset=next(iter(PRESETS)))
    if file is not None:
        base = SamplingContract.from_json(_read_text(Path(file)), origin=Path(file).name)
    else:
        base = preset_named(preset or "", student)
    wanted = fit_contract(replace(base, **changes), student.config, student.vae_channels)
    wanted = replace(wanted, latent=base.latent or wanted.latent, source="declared")
    existing = student.contract
    if existing is not None and existing.source == "declared" and existing != wanted and not replace_existing:
        raise ValueError(f"{student.source}: has a contract already ({in_words(existing)}); --replace replaces it.")
    return stamp(path, wanted), wanted


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as text ({error}); give a JSON file with a contract.") from error
