"""Schedules of students distilled to a few steps: each was trained on these very sigmas and on no others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..training_rules import TRAIN_TIMESTEPS, TRIGFLOW_ANGLES
from .process import FLOW
from .schedule import Schedule, shift_sigma
from .timesteps import cast_timesteps, timesteps_at

__all__ = ["explicit_schedule", "few_step_schedule", "trigflow_schedule"]

_LARGEST_SIGMA_MAX = 1e6


def few_step_schedule(
    denoising_steps: Sequence[int], *, shift: float, warp: bool = True, timestep_cast: str = "float"
) -> Schedule:
    """Return the schedule of a student trained by distribution matching on a list of denoising steps.

    Training has a table of 1000 sigmas in float32, ``shift_sigma(i / 1000)`` for i from 1000 to 1, and its timesteps
    ``1000 * sigma``, from 1000 exactly. With ``warp`` the entry d of the list means the timestep at i = d; without it,
    the timestep d itself, at the sigma that is nearest to it in the table. So the same list means [1000, 937.5, 833.33,
    625] with warp and shift 5 (Self-Forcing, LightX2V, Wan2.2-Lightning), and [1000, 757, 522] without it at shift 8
    has the sigmas 1, 0.75676 and 0.52174 (CausVid, FastWan). A last 0 is a step at the smallest sigma of the table.

    Args:
        denoising_steps: Whole numbers from 1000 to 0, falling.
        shift: Above 0, of the table.
        warp: Whether the entries are shifted too.
        timestep_cast: What the network is fed: "float" (833.3333), "int64_trunc" (833), "bf16" (832), or "table", the
            entries of the list as they are.

    Raises:
        ValueError: An argument outside its range.

    Source: guandeh17/Self-Forcing at 33593df, utils/scheduler.py and utils/wan_wrapper.py; tests/vectors/few_step.
    """
    entries = _check_entries(denoising_steps)
    even = torch.linspace(1.0, 0.0, TRAIN_TIMESTEPS + 1, dtype=torch.float32, device="cpu")[:-1]
    table = shift_sigma(even, shift)
    timesteps = table * TRAIN_TIMESTEPS
    wanted = torch.cat([timesteps, timesteps.new_zeros(1)])[TRAIN_TIMESTEPS - entries] if warp else entries.float()
    nearest = (timesteps.double() - wanted.double()[:, None]).abs().argmin(dim=1)
    fed = entries if timestep_cast == "table" else cast_timesteps(wanted, timestep_cast)
    return _make(table[nearest].double(), fed, timestep_cast)


def trigflow_schedule(steps: int, *, sigma_max: float, timestep_cast: str = "bf16") -> Schedule:
    """Return rCM's schedule: the angles atan(sigma_max), 1.5, 1.4, 1.0 of TrigFlow as sigmas of the flow process.

    ``sigma = sin / (cos + sin)``. A run starts below 1, from noise times the first sigma; there is no shift.

    Args:
        steps: 1 to 4, the angles that are used.
        sigma_max: Sigma of the first angle in TrigFlow's own units, above 14.2: 80 for T2V, 120 at 720p, 200 for I2V.
        timestep_cast: What the network is fed: "bf16" (988, 932, 852, 608) as rCM's own program, "float" or
            "int64_trunc".

    Raises:
        ValueError: An argument outside its range.

    Source: NVlabs/rcm at 5b41aa9, rcm/inference; tests/vectors/few_step.
    """
    most = len(TRIGFLOW_ANGLES) + 1
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= most:
        raise ValueError(f"steps is {steps!r}; a TrigFlow student has from 1 to {most} steps; a usual value is 4.")
    least = math.tan(TRIGFLOW_ANGLES[0])
    if not least < sigma_max <= _LARGEST_SIGMA_MAX:
        raise ValueError(
            f"sigma_max is {sigma_max!r}; allowed are numbers above {least:.4g} up to {_LARGEST_SIGMA_MAX:g}; usual "
            "values are 80, 120 and 200."
        )
    if timestep_cast == "table":
        raise ValueError("timestep_cast is 'table', but TrigFlow has no table of timesteps; use 'bf16' or 'float'.")
    angles = torch.tensor([math.atan(sigma_max), *TRIGFLOW_ANGLES[: steps - 1]], dtype=torch.float64, device="cpu")
    sigmas = angles.sin() / (angles.cos() + angles.sin())
    return _make(sigmas, timesteps_at(sigmas, timestep_cast), timestep_cast, scales_noise=True)


def explicit_schedule(
    sigmas: Sequence[float], *, timesteps: Sequence[float] | None = None, timestep_cast: str = "float"
) -> Schedule:
    """Return the flow schedule of a list of sigmas, for a family whose rule is none of the others.

    Args:
        sigmas: From at most 1 down, falling, without the 0 that every run ends at.
        timesteps: What is fed at each; None makes it by ``timestep_cast``. Whole numbers are fed as int64.
        timestep_cast: "float", "int64_trunc" or "bf16"; "table" needs ``timesteps``.

    Raises:
        ValueError: The sigmas rise, repeat or leave (0, 1], the timesteps are of another number, or there are none for
            the table.
    """
    values = torch.tensor([float(sigma) for sigma in sigmas], dtype=torch.float64, device="cpu")
    if timesteps is None:
        if timestep_cast == "table":
            raise ValueError("timestep_cast is 'table', but there are no timesteps; give one for each sigma.")
        return _make(values, timesteps_at(values, timestep_cast), timestep_cast)
    return _make(values, to_timesteps(timesteps), timestep_cast)


def to_timesteps(timesteps: Sequence[float]) -> Tensor:
    """Return a table of timesteps as they are fed: int64 where all are whole numbers, else float32."""
    is_whole = all(float(timestep).is_integer() for timestep in timesteps)
    return torch.tensor(timesteps, dtype=torch.float64, device="cpu").to(torch.int64 if is_whole else torch.float32)


def _make(sigmas: Tensor, timesteps: Tensor, timestep_cast: str, *, scales_noise: bool = False) -> Schedule:
    with_end = torch.cat([sigmas, sigmas.new_zeros(1)])
    return Schedule(with_end, FLOW, timesteps, timestep_cast, scales_noise=scales_noise, first_step=0)


def _check_entries(denoising_steps: Sequence[int]) -> Tensor:
    entries = list(denoising_steps)
    whole = all(isinstance(entry, int) and not isinstance(entry, bool) for entry in entries)
    falls = whole and all(later < earlier for earlier, later in itertools.pairwise(entries))
    if not entries or not falls or not TRAIN_TIMESTEPS >= entries[0] >= entries[-1] >= 0:
        raise ValueError(
            f"denoising_steps is {entries!r}; give whole numbers from {TRAIN_TIMESTEPS} to 0, each smaller than the "
            "one before, such as [1000, 750, 500, 250]."
        )
    return torch.tensor(entries, dtype=torch.int64, device="cpu")
