"""FlowEuler: Euler's method on the velocity, the deterministic update of step-distilled flow students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..process import FLOW, NoiseProcess
from ..schedule import DefaultSchedule, Schedule, dpmpp_schedule
from ..solver import Denoiser, Step
from .multistep import weighted_sum

__all__ = ["FlowEuler"]


@dataclass(frozen=True)
class FlowEuler:
    """Step along the velocity: ``x + (sigma' - sigma) * v`` in the flow process.

    In x0 that is ``sigma' / sigma * x + (alpha' - sigma' / sigma * alpha) * x0``, which is the same line in the other
    processes too. The last step to sigma 0 returns x0.

    Source: ModelTC/Wan2.2-Lightning at 92efeb4, wan/utils/fm_solvers_euler.py; tests/vectors/few_step.
    """

    name: ClassVar[str] = "flow_euler"
    label: ClassVar[str] = "Euler"
    schedules: ClassVar[Mapping[NoiseProcess, DefaultSchedule]] = {FLOW: DefaultSchedule(dpmpp_schedule, 4, 5.0)}
    diffusers: ClassVar[Mapping[str, NoiseProcess]] = {}
    order = 1
    convergence_order = 1
    process: NoiseProcess | None = FLOW

    def init(self, schedule: Schedule) -> None:
        """Return None: a one-step method remembers nothing."""
        del schedule

    def step(self, denoise: Denoiser, x: Tensor, i: int, schedule: Schedule, state: None = None) -> Step:
        """Step from sigma i to sigma i + 1 of ``schedule``. Shapes: x (b, ...)."""
        process, sigma, target = schedule.process, schedule.sigma_values[i], schedule.sigma_values[i + 1]
        x0 = denoise(x, sigma)
        if target == 0:
            return Step(x0, x0, None)
        ratio = target / sigma
        return Step(weighted_sum(x, ratio, [(process.alpha(target) - ratio * process.alpha(sigma), x0)]), x0, None)
