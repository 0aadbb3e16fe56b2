"""FlowDPM++: Wan's second sampler, a multistep method of order 1 or 2 with no corrector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..process import FLOW, NoiseProcess
from ..schedule import DefaultSchedule, Schedule, dpmpp_schedule
from ..solver import Denoiser, Step
from .multistep import History, Point, weighted_sum

__all__ = ["FlowDPMpp"]


@dataclass(frozen=True)
class FlowDPMpp:
    """DPM-Solver++(2M), midpoint form, with data prediction, as Wan runs it.

    Args:
        order: 1 or 2.

    Raises:
        ValueError: Order is not 1 or 2.

    Source: arXiv 2211.01095, algorithm 2; parity with Wan2.2 at 42bf4cf, tests/vectors/samplers.
    """

    order: int = 2

    name: ClassVar[str] = "flow_dpmpp"
    label: ClassVar[str] = "DPM++"
    schedules: ClassVar[Mapping[NoiseProcess, DefaultSchedule]] = {FLOW: DefaultSchedule(dpmpp_schedule, 20, 5.0)}
    diffusers: ClassVar[Mapping[str, NoiseProcess]] = {
        "DPMSolverMultistepScheduler": FLOW,
        "FlowDPMSolverMultistepScheduler": FLOW,
    }
    process: NoiseProcess | None = FLOW

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(f"order is {self.order!r}; allowed are 1 and 2; Wan uses 2.")

    @property
    def convergence_order(self) -> int:
        """Return the order of the method."""
        return self.order

    def init(self, schedule: Schedule) -> History:
        """Return the empty history."""
        del schedule
        return History()

    def step(self, denoise: Denoiser, x: Tensor, i: int, schedule: Schedule, state: History) -> Step:
        """Step from sigma i to sigma i + 1 of ``schedule``. Shapes: x (b, ...)."""
        state.require_next(i)
        process, sigma, target = schedule.process, schedule.sigma_values[i], schedule.sigma_values[i + 1]
        x0 = denoise(x, sigma)
        lam = process.half_log_snr(sigma)
        history = History((Point(lam, x0), *state.points)[: self.order], None, self.order, i + 1)
        if target == 0:
            return Step(x0, x0, history)
        h = process.half_log_snr(target) - lam
        drift = -process.alpha(target) * math.expm1(-h)
        # half the slope between the last two predictions, over this step: h / (lam - older) is 1 / r0 of the paper
        slopes = [(0.5 * h / (lam - point.lam), point.x0) for point in history.older()]
        terms = [(drift * (1 + sum(slope for slope, _ in slopes)), x0)]
        terms += [(-drift * slope, older) for slope, older in slopes]
        return Step(weighted_sum(x, target / sigma, terms), x0, history)
