"""Schedules: which sigmas a run visits, and the timesteps that training fed the network at them.

A schedule is finished data. The shift is applied here, once, by :func:`shift_sigma`; solvers take what they are given.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..training_rules import TRAIN_TIMESTEPS, WAN_FIRST_SIGMA, apply_shift
from .process import FLOW, VP, NoiseProcess, Number
from .timesteps import ddim_sigma, ddim_timestep, timesteps_at, wan_timestep

__all__ = [
    "LARGEST_SHIFT",
    "MOST_STEPS",
    "DefaultSchedule",
    "Schedule",
    "ScheduleMaker",
    "ddim_schedule",
    "dpmpp_schedule",
    "flow_schedule",
    "infer_shift",
    "shift_sigma",
]

MOST_STEPS = 10_000
LARGEST_SHIFT = 1e6
_SAME_SIGMA = 1e-6
_LONGEST_TABLE = 1_000_000  # that ``denoise`` may keep the end of


@dataclass(frozen=True)
class Schedule:
    """The sigmas of one run, from the noisiest down.

    Args:
        sigmas: (n + 1,), kept as float64 on the CPU, strictly decreasing, the last one 0 for a full run.
        process: The noise process that they belong to.
        timesteps: (n,) what the network is fed at sigmas[:-1], kept as int64 or, where they are floating point, as
            float32; None where they follow from sigma.
        timestep_cast: How the timestep of any other sigma is made, one of ``TIMESTEP_CASTS``.
        scales_noise: Whether a run starts from plain noise times the first sigma (rCM), not from plain noise (Wan).
        first_step: The index of the first step in the whole schedule that this is a part of, None where unknown.

    Attributes:
        sigma_values: The sigmas as Python floats.

    Raises:
        ValueError: sigmas are not 1-D with at least two values, not strictly decreasing, not finite, or outside the
            process' range; timesteps do not have one entry for each step.
    """

    sigmas: Tensor
    process: NoiseProcess
    timesteps: Tensor | None = None
    timestep_cast: str = "int64_trunc"
    scales_noise: bool = False
    first_step: int | None = None
    sigma_values: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _table: dict[float, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sigmas = self.sigmas.detach().cpu().double().clone()
        _check_sigmas(sigmas, self.process)
        object.__setattr__(self, "sigmas", sigmas)
        object.__setattr__(self, "sigma_values", tuple(sigmas.tolist()))
        table: dict[float, float] = {}
        if self.timesteps is not None:
            dtype = torch.float32 if self.timesteps.is_floating_point() else torch.int64
            timesteps = self.timesteps.detach().to("cpu", dtype).clone()
            if timesteps.shape != (self.steps,):
                raise ValueError(
                    f"timesteps has shape {list(timesteps.shape)}, but {len(sigmas)} sigmas need [{self.steps}]; "
                    "give one timestep for each step."
                )
            object.__setattr__(self, "timesteps", timesteps)
            table = dict(zip(self.sigma_values[:-1], timesteps.tolist(), strict=True))
        object.__setattr__(self, "_table", table)

    @property
    def steps(self) -> int:
        """The number of steps, which is the number of times the network is called."""
        return len(self.sigma_values) - 1

    @property
    def ends_clean(self) -> bool:
        """Whether the last sigma is 0, so that the run leaves no noise behind."""
        return self.sigma_values[-1] == 0.0

    @property
    def timestep_dtype(self) -> torch.dtype:
        """What the network is fed timesteps as: int64 or float32."""
        if self.timesteps is not None:
            return self.timesteps.dtype
        return torch.float32 if self.timestep_cast in ("float", "bf16") else torch.int64

    def timestep_at(self, sigma: float) -> float:
        """Return the timestep to feed at ``sigma``: the schedule's own at its sigmas, else sigma's by its cast."""
        if sigma in self._table:
            return self._table[sigma]
        if self.process != FLOW:
            return ddim_timestep(self.process.noise_ratio(sigma))
        timestep: float = timesteps_at(torch.tensor([sigma], dtype=torch.float64), self.timestep_cast).item()
        return timestep

    def start(self, noise: Tensor) -> Tensor:
        """Return the latent at the first sigma of a run from plain noise (b, ...): the noise itself, or scaled."""
        return noise * self.sigma_values[0] if self.scales_noise else noise

    def step_key(self, i: int) -> int:
        """Return a number that step ``i`` has in the whole schedule and in every part of it, for its fresh noise.

        Its index in the whole schedule where that is known, otherwise a number made from its sigma, which no index is.
        """
        if self.first_step is not None:
            return self.first_step + i
        (bits,) = struct.unpack("<I", struct.pack("<f", self.sigma_values[i]))
        return int(2**32 + bits)

    def split(self, step: int) -> tuple[Schedule, Schedule]:
        """Return the schedule before and from ``step`` on; the sigma between them is in both.

        Raises:
            ValueError: ``step`` is not strictly between 0 and the number of steps.
        """
        if not 0 < step < self.steps:
            raise ValueError(f"step is {step}; a schedule of {self.steps} steps can be split at 1 to {self.steps - 1}.")
        return self._cut_part(0, step), self._cut_part(step, self.steps)

    def keep_end(self, denoise: float) -> Schedule:
        """Return the last steps, for image to image: as many as ``denoise`` of all, rounded down, but one at least.

        A student of few steps knows its own sigmas only, so no longer schedule is made whose end they would not be.

        Args:
            denoise: In (0, 1]; 1 keeps all.

        Raises:
            ValueError: Denoise outside its range.
        """
        _check_denoise(denoise)
        return self._cut_part(self.steps - max(1, int(self.steps * denoise + 1e-9)), self.steps)

    def find_part(self, sigmas: Tensor) -> Schedule | None:
        """Return the steps of this schedule that visit ``sigmas`` (to 1e-6), with what is known of them here, or None.

        So a host's list of sigmas, or a piece of it, gets the timesteps and step indices of the contract that it came
        from.

        Shapes: sigmas (m + 1,), falling.
        """
        given = sigmas.detach().cpu().double()
        steps = len(given) - 1
        for first in range(self.steps - steps + 1) if steps > 0 else ():
            if torch.allclose(self.sigmas[first : first + steps + 1], given, rtol=0, atol=_SAME_SIGMA):
                return self._cut_part(first, first + steps)
        return None

    def _cut_part(self, first: int, stop: int) -> Schedule:
        timesteps = None if self.timesteps is None else self.timesteps[first:stop]
        step = None if self.first_step is None else self.first_step + first
        scales, sigmas = self.scales_noise and first == 0, self.sigmas[first : stop + 1]
        return replace(self, sigmas=sigmas, timesteps=timesteps, first_step=step, scales_noise=scales)

    def recast(self, timestep_cast: str) -> Schedule:
        """Return the same flow schedule with its timesteps made by ``timestep_cast``, one of ``TIMESTEP_CASTS``."""
        timesteps = timesteps_at(self.sigmas[:-1], timestep_cast)
        return replace(self, timesteps=timesteps, timestep_cast=timestep_cast)

    def to_process(self, process: NoiseProcess) -> Schedule:
        """Return the same run told in another process: each sigma keeps its signal-to-noise ratio and its timestep."""
        if process == self.process:
            return self
        sigmas = process.from_ratio(self.process.noise_ratio(self.sigmas))
        return replace(self, sigmas=sigmas, process=process)


class ScheduleMaker(Protocol):
    """A function that makes a schedule of a number of steps and a shift."""

    def __call__(self, steps: int, *, shift: float, denoise: float = 1.0) -> Schedule:
        """Return the schedule."""
        ...


class DefaultSchedule(NamedTuple):
    """The schedule that a solver is run on in one noise process where nobody says otherwise."""

    make: ScheduleMaker
    steps: int
    shift: float


def flow_schedule(steps: int, *, shift: float, denoise: float = 1.0) -> Schedule:
    """Return Wan's own FlowUniPC schedule: sigmas from shift(0.999) to 0, timesteps truncated to integers.

    The run starts from pure noise although the first sigma is just below 1, as Wan does. The sigmas are rounded to
    float32, as Wan's solver reads them.

    Args:
        steps: 1 to 10000.
        shift: Above 0; 1 leaves the sigmas equally spaced; applied here and nowhere else. Wan uses 5 (3 at 480p, 12 for
            T2V A14B).
        denoise: In (0, 1]; below 1 the last ``steps`` of a table of int(steps / denoise) steps (image to image).

    Raises:
        ValueError: An argument outside its range.

    Source: Wan2.2 at 42bf4cf, FlowUniPC schedule; tests/vectors/samplers.
    """
    return _make_flow_table(steps, shift, denoise, WAN_FIRST_SIGMA)


def dpmpp_schedule(steps: int, *, shift: float, denoise: float = 1.0) -> Schedule:
    """Return Wan's FlowDPM++ schedule: like :func:`flow_schedule`, but from 1 exactly (first timestep 1000).

    Args:
        steps: 1 to 10000.
        shift: Above 0, as in :func:`flow_schedule`.
        denoise: In (0, 1], as in :func:`flow_schedule`.

    Raises:
        ValueError: An argument outside its range.

    Source: Wan2.2 at 42bf4cf, get_sampling_sigmas; tests/vectors/samplers.
    """
    return _make_flow_table(steps, shift, denoise, 1.0)


def ddim_schedule(steps: int, *, shift: float, denoise: float = 1.0) -> Schedule:
    """Return the schedule of the training-time DDIM: ``linspace(999, 0, steps)`` truncated, alpha^2 = 1 - t / 1000.

    alpha^2 is computed in float32 and clamped to [0.001, 0.999] as in training; the last step goes to exactly 0.
    Shift 1 is the training schedule. Another shift bends the table between its ends, ``t = 999 * shift(u)`` for u from
    1 to 0, so that every run begins at 999 and ends at 0.

    A table has no more different sigmas than there are integer timesteps, and 1 and 0 share one because of the clamp.
    A repeated sigma would be a step that changes nothing, so it is left out: beyond 500 steps, or at extreme shifts,
    the schedule has fewer steps than asked (``schedule.steps`` says how many).

    Args:
        steps: 1 to 10000.
        shift: Above 0.
        denoise: In (0, 1], as in :func:`flow_schedule`.

    Raises:
        ValueError: An argument outside its range.

    Source: WanDistiller at bce3055, sampling in the training loop; tests/vectors/samplers.
    """
    total = _count_total_steps(steps, shift, denoise)
    if shift == 1:
        # torch's own float32 table, so that its rounding before the truncation is training's
        timesteps = torch.linspace(TRAIN_TIMESTEPS - 1, 0, total, dtype=torch.long)
    else:
        position = torch.linspace(1, 0, total, dtype=torch.float64)
        # the small addend keeps an exact integer that rounding has put a hair below itself
        timesteps = (shift_sigma(position, shift) * (TRAIN_TIMESTEPS - 1) + 1e-6).long()
    timesteps = timesteps[-steps:]
    sigmas = ddim_sigma(timesteps)
    # of several entries with one sigma the last is kept: it is the one whose output would decide the step
    keep = torch.cat([sigmas[1:] != sigmas[:-1], torch.ones(1, dtype=torch.bool)])
    kept = torch.cat([sigmas[keep], sigmas.new_zeros(1)])
    return Schedule(kept, VP, timesteps[keep], first_step=total - steps)


def shift_sigma(sigma: Number, shift: float) -> Number:
    """Return ``shift * s / (1 + (shift - 1) * s)``, the rational shift of Wan, SD3 and Flux; the only one there is.

    Shift 1 is the identity, and shifts compose by multiplication.

    Args:
        sigma: 0 to 1, a number or a tensor of any shape; so is the result.
        shift: Above 0.

    Raises:
        ValueError: Shift is not above 0 and at most a million.
    """
    _check_shift(shift)
    shifted: Number = apply_shift(sigma, shift)
    return shifted


def infer_shift(sigmas: Tensor) -> float | None:
    """Return the shift of evenly spaced flow sigmas that end at 0, or None where they are something else.

    The inverse of :func:`shift_sigma` for a schedule: the last three sigmas before the 0 are the shifted multiples c,
    2 c and 3 c of one spacing; two of them give the shift and the third proves it (to 1e-3).

    Args:
        sigmas: (n + 1,), falling.
    """
    if len(sigmas) < 4 or float(sigmas[-1]) != 0.0 or float(sigmas[0]) > 1.0:
        return None
    third, second, first = sigmas[-4:-1].cpu().double().tolist()
    denominator = second - 2.0 * first + first * second
    if denominator <= 0.0:
        return None
    shift: float = first * second / denominator
    unshifted = [sigma / (shift - (shift - 1.0) * sigma) for sigma in (first, third)]
    return shift if math.isclose(unshifted[1], 3.0 * unshifted[0], rel_tol=1e-3) else None


def _make_flow_table(steps: int, shift: float, denoise: float, sigma_max: float) -> Schedule:
    total = _count_total_steps(steps, shift, denoise)
    # start + k * step, in this order: the rounding decides the truncated timesteps
    even = torch.arange(total, dtype=torch.float64) * (-sigma_max / total) + sigma_max
    sigmas = shift_sigma(even, shift)[-steps:]
    rounded = torch.cat([sigmas.float().double(), sigmas.new_zeros(1)])
    return Schedule(rounded, FLOW, wan_timestep(sigmas), first_step=total - steps)


def _count_total_steps(steps: int, shift: float, denoise: float) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps is {steps!r}; allowed are whole numbers from 1 to {MOST_STEPS}; a usual value is 20.")
    _check_shift(shift)
    _check_denoise(denoise)
    if steps / denoise > _LONGEST_TABLE:
        raise ValueError(
            f"denoise is {denoise!r}, which with {steps} steps keeps so little of the noise that nothing would change; "
            f"give {steps / _LONGEST_TABLE:g} or more."
        )
    return steps if denoise == 1 else int(steps / denoise)


def _check_denoise(denoise: float) -> None:
    if not 0 < denoise <= 1:
        raise ValueError(f"denoise is {denoise!r}; allowed are numbers above 0 up to 1; 1 is a full run from noise.")


def _check_shift(shift: float) -> None:
    if not 0 < shift <= LARGEST_SHIFT:
        raise ValueError(f"shift is {shift!r}; allowed are numbers above 0 up to {LARGEST_SHIFT:g}; 1 means no shift.")


def _check_sigmas(sigmas: Tensor, process: NoiseProcess) -> None:
    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise ValueError(f"sigmas has shape {list(sigmas.shape)}; give a list of at least two sigmas, noisiest first.")
    if not torch.isfinite(sigmas).all() or not bool((sigmas[1:] < sigmas[:-1]).all()):
        raise ValueError(
            f"sigmas {_format_preview(sigmas)} do not strictly decrease; give finite sigmas from the noisiest down."
        )
    if sigmas[-1] < 0 or sigmas[0] > process.max_sigma:
        raise ValueError(
            f"sigmas run from {sigmas[0]:g} to {sigmas[-1]:g}, but the process '{process.name}' goes from "
            f"{process.max_sigma:g} to 0; these sigmas belong to another process."
        )


def _format_preview(sigmas: Tensor) -> str:
    values = [f"{value:.6g}" for value in sigmas[:4].tolist()]
    return "[" + ", ".join(values) + (", ...]" if len(sigmas) > 4 else "]")
