"""Runs in two stages that would draw the same noise twice: core's stochastic samplers start anew from the seed."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ....check.trace.updates import find_rule
from .observe import find_sampler_name

_MOST_STAGES = 8
_COMPARED = 256


class Stage(NamedTuple):
    """A stage that left noise behind: its seed, and the first numbers of the latent that it returned."""

    seed: int
    numbers: Tensor


class StageMemory:
    """The last stages of core's stochastic samplers, known again by the latent that they hand on."""

    def __init__(self) -> None:
        self._stages: deque[Stage] = deque(maxlen=_MOST_STAGES)

    def remember(self, sampler: Any, sigmas: Tensor, seed: int | None, out: Tensor) -> None:
        """Keep a stage that ended above 0."""
        if seed is not None and len(sigmas) and float(sigmas[-1]) > 0 and draws_noise(sampler):
            self._stages.append(Stage(seed, _take_numbers(out)))

    def check(self, sampler: Any, seed: int | None, latent: Tensor) -> str | None:
        """Find a second stage that draws the noise of the first once more."""
        if seed is None or not draws_noise(sampler):
            return None
        numbers = _take_numbers(latent)
        for stage in self._stages:
            if stage.seed == seed and stage.numbers.shape == numbers.shape and torch.equal(stage.numbers, numbers):
                return (
                    f"Both stages draw their fresh noise from seed {seed}, so this one adds the noise of the first "
                    "again. Give this stage another seed, or use WanLiteSolverRenoise, whose noise belongs to its step."
                )
        return None


def draws_noise(sampler: Any) -> bool:
    """Whether a SAMPLER is one of core's that draw noise at each step."""
    name = find_sampler_name(sampler)
    return name is not None and find_rule(name).is_stochastic


def _take_numbers(latent: Tensor) -> Tensor:
    return latent.detach().flatten()[:_COMPARED].float().cpu().clone()
