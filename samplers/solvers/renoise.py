"""Renoise: stochastic consistency sampling, the update of students distilled by distribution matching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..noise import Seed, step_noise
from ..process import FLOW, NoiseProcess
from ..schedule import DefaultSchedule, Schedule, dpmpp_schedule
from ..solver import Denoiser, Step
from .multistep import weighted_sum

__all__ = ["Renoise"]


@dataclass(frozen=True)
class Renoise:
    """Predict the clean latent and noise it anew to the next sigma: ``alpha' * x0 + sigma' * fresh noise``.

    Nothing of the old noise is kept, unlike in DDIM with eta 1. The last step to sigma 0 returns x0 and draws nothing.
    The noise of a step belongs to the item's seed and to the step itself (:meth:`Schedule.step_key`), so a run cut in
    two is the uncut one, and two stages of one run share no noise.

    Args:
        noise: Called as ``noise(x, i)`` for the fresh noise of step i, like ``x`` (b, ...), i counted in the whole
            schedule where that is known; None draws it from the seed.
        seed: Of the noise, item k using seed + k, or the k-th of several.

    Source: guandeh17/Self-Forcing at 33593df, pipeline/causal_inference.py; tests/vectors/few_step.
    """

    noise: Callable[[Tensor, int], Tensor] | None = None
    seed: Seed = 0

    name: ClassVar[str] = "renoise"
    label: ClassVar[str] = "fresh noise at each step"
    schedules: ClassVar[Mapping[NoiseProcess, DefaultSchedule]] = {FLOW: DefaultSchedule(dpmpp_schedule, 4, 5.0)}
    diffusers: ClassVar[Mapping[str, NoiseProcess]] = {}
    order = 1
    convergence_order = None
    process: NoiseProcess | None = FLOW

    def init(self, schedule: Schedule) -> None:
        """Return None: a one-step method remembers nothing."""
        del schedule

    def step(self, denoise: Denoiser, x: Tensor, i: int, schedule: Schedule, state: None = None) -> Step:
        """Step from sigma i to sigma i + 1 of ``schedule``. Shapes: x (b, ...)."""
        target = schedule.sigma_values[i + 1]
        x0 = denoise(x, schedule.sigma_values[i])
        if target == 0:
            return Step(x0, x0, None)
        fresh = self._draw(x, i, schedule)
        return Step(weighted_sum(x0, schedule.process.alpha(target), [(target, fresh)]), x0, None)

    def _draw(self, x: Tensor, i: int, schedule: Schedule) -> Tensor:
        if self.noise is not None:
            return self.noise(x, i + (schedule.first_step or 0)).to(x)
        return step_noise(x, self.seed, schedule.step_key(i))
