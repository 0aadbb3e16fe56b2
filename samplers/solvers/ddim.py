"""DDIM: the one-step method of the training loop, with DDPM's noise (eta) and churn as options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..noise import Seed, step_noise
from ..process import FLOW, VP, NoiseProcess
from ..schedule import DefaultSchedule, Schedule, ddim_schedule, flow_schedule
from ..solver import Denoiser, Step
from .multistep import weighted_sum

__all__ = ["DDIM", "Churn"]


@dataclass(frozen=True)
class Churn:
    """Raise the noise before each step whose sigma is in [s_tmin, s_tmax], by ``s_churn / steps`` (at most 0.41).

    s_tmin and s_tmax are sigmas of the schedule in use (0 to 1 for flow and vp).

    Raises:
        ValueError: A negative s_churn, or s_tmin above s_tmax.

    Source: arXiv 2206.00364, algorithm 2, with the noise ratio sigma / alpha as its sigma.
    """

    s_churn: float
    s_tmin: float = 0.0
    s_tmax: float = math.inf

    def __post_init__(self) -> None:
        if not self.s_churn >= 0:
            raise ValueError(f"s_churn is {self.s_churn!r}; allowed are numbers from 0; 0 is off.")
        if not self.s_tmin <= self.s_tmax:
            raise ValueError(
                f"s_tmin is {self.s_tmin!r} and s_tmax is {self.s_tmax!r}; s_tmin must not be above s_tmax."
            )

    def raise_sigma(self, sigma: float, schedule: Schedule) -> float:
        """Return the sigma to raise ``sigma`` of ``schedule`` to: itself where churn does not act."""
        process = schedule.process
        gamma = min(self.s_churn / schedule.steps, math.sqrt(2) - 1)
        if gamma == 0 or not self.s_tmin <= sigma <= self.s_tmax or process.alpha(sigma) <= 0:
            return sigma
        return process.from_ratio(process.noise_ratio(sigma) * (1 + gamma))


@dataclass(frozen=True)
class DDIM:
    """First-order step that keeps the predicted noise; in the flow process it is Euler's method.

    Args:
        eta: Share of DDPM's noise that each step puts back, 0 (deterministic) to 1 (DDPM).
        clip_x0: Clamp the predicted x0 to [-clip_x0, clip_x0]; None leaves it. The noise follows from the clamped x0.
        s_noise: Factor on the noise that eta and churn add.
        churn: Off when None.
        seed: Of the added noise, item i using seed + i.

    Raises:
        ValueError: eta outside [0, 1], clip_x0 not above 0, s_noise negative.

    Source: arXiv 2010.02502, eq. 12 and 16; WanDistiller at bce3055 for eta 0, see tests/vectors/samplers.
    """

    eta: float = 0.0
    clip_x0: float | None = None
    s_noise: float = 1.0
    churn: Churn | None = None
    seed: Seed = 0

    name: ClassVar[str] = "ddim"
    label: ClassVar[str] = "DDIM"
    schedules: ClassVar[Mapping[NoiseProcess, DefaultSchedule]] = {
        VP: DefaultSchedule(ddim_schedule, 20, 1.0),
        FLOW: DefaultSchedule(flow_schedule, 20, 5.0),
    }
    diffusers: ClassVar[Mapping[str, NoiseProcess]] = {
        "DDIMScheduler": VP,
        "DDPMScheduler": VP,
        "FlowMatchEulerDiscreteScheduler": FLOW,
    }
    order = 1
    process: NoiseProcess | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta!r}; allowed are numbers from 0 (deterministic) to 1 (DDPM).")
        if self.clip_x0 is not None and not self.clip_x0 > 0:
            raise ValueError(f"clip_x0 is {self.clip_x0!r}; allowed are numbers above 0, or None for no limit.")
        if not self.s_noise >= 0:
            raise ValueError(f"s_noise is {self.s_noise!r}; allowed are numbers from 0; 1 is the plain method.")

    @property
    def convergence_order(self) -> int | None:
        """Return 1, or None where eta or churn add noise."""
        return 1 if self.eta == 0 and self.churn is None else None

    def init(self, schedule: Schedule) -> None:
        """Return None: a one-step method remembers nothing."""
        del schedule

    def step(self, denoise: Denoiser, x: Tensor, i: int, schedule: Schedule, state: None = None) -> Step:
        """Step from sigma i to sigma i + 1 of ``schedule``. Shapes: x (b, ...)."""
        process, target = schedule.process, schedule.sigma_values[i + 1]
        x, sigma = self._add_churn(x, i, schedule)
        x0, noise = self._predict(denoise, x, sigma, process)
        if target == 0:
            return Step(x0, x0, None)
        fresh = self.eta * _compute_posterior_std(process, sigma, target)
        moved = process.alpha(target) * x0
        moved += math.sqrt(max(target * target - fresh * fresh, 0.0)) * noise
        if fresh > 0:
            moved.add_(step_noise(x, self.seed, 2 * i), alpha=fresh * self.s_noise)
        return Step(moved, x0, None)

    def _predict(self, denoise: Denoiser, x: Tensor, sigma: float, process: NoiseProcess) -> tuple[Tensor, Tensor]:
        """Return x0 and the noise that makes up the rest of ``x``.

        The network's own noise output is used where there is one: taken back from x0 it would lose bits.
        """
        with_noise = getattr(denoise, "with_noise", None)
        x0, noise = (denoise(x, sigma), None) if with_noise is None else with_noise(x, sigma)
        clipped = self._clip(x0)
        if noise is None or clipped is not x0:
            noise = torch.sub(x, clipped, alpha=process.alpha(sigma)).div_(sigma)
        return clipped, noise

    def _add_churn(self, x: Tensor, i: int, schedule: Schedule) -> tuple[Tensor, float]:
        sigma, process = schedule.sigma_values[i], schedule.process
        raised = sigma if self.churn is None else self.churn.raise_sigma(sigma, schedule)
        if raised == sigma:
            return x, sigma
        # in the units of sigma / alpha noise adds up in squares
        added = math.sqrt(process.noise_ratio(raised) ** 2 - process.noise_ratio(sigma) ** 2)
        alpha = process.alpha(raised)
        noise = step_noise(x, self.seed, 2 * i + 1)
        return weighted_sum(x, alpha / process.alpha(sigma), [(alpha * added * self.s_noise, noise)]), raised

    def _clip(self, x0: Tensor) -> Tensor:
        return x0 if self.clip_x0 is None else x0.clamp(-self.clip_x0, self.clip_x0)


def _compute_posterior_std(process: NoiseProcess, sigma: float, target: float) -> float:
    """Standard deviation of the latent at ``target`` given the one at ``sigma`` and x0: the noise of a DDPM step."""
    ratio = process.alpha(sigma) / process.alpha(target)
    return target / sigma * math.sqrt(max(sigma * sigma - (ratio * target) ** 2, 0.0))
