"""ComfyUI's model samplings: which noise levels a model's table holds, and the timestep fed at each.

Computed in float64 where ComfyUI computes in float32: the two agree to 1e-6, and to 3e-6 relative for the models whose
levels reach into the hundreds.

Source: ComfyUI 0.33.0, comfy/model_sampling.py (read for its definitions).
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import mul
from typing import Protocol

from ...training_rules import apply_shift

__all__ = ["ContinuousEDM", "ContinuousV", "CosmosFlow", "DiscreteEpsilon", "DiscreteFlow", "FluxFlow", "ModelSampling"]
__all__ += ["ContinuousSampling", "Float32", "to_float32"]


class ModelSampling(Protocol):
    """What schedulers read of a model; the process is "flow" (levels from 0 to 1) or "ve"."""

    @property
    def process(self) -> str:
        """Return "flow" or "ve"."""
        ...

    @property
    def table(self) -> list[float]:
        """Levels in rising order."""
        ...

    def timestep(self, sigma: float) -> float:
        """Return what the network is fed at a level."""
        ...

    def sigma(self, timestep: float) -> float:
        """Return the level of a timestep."""
        ...

    def percent_to_sigma(self, percent: float) -> float:
        """Return the level at which this part of the way from noise (0) to image (1) is gone."""
        ...


@dataclass(frozen=True)
class DiscreteFlow:
    """Rectified flow with the rational shift: ``shift t / (1 + (shift - 1) t)`` at t = 1/1000 .. 1.

    Attributes:
        shift: Above 0.
        multiplier: Of the level, to make the timestep: 1000 for Wan, 1 for AuraFlow's kin.
    """

    shift: float
    multiplier: float = 1000.0
    process = "flow"

    @cached_property
    def table(self) -> list[float]:
        """Return the levels in rising order."""
        return [self._shift(j / 1000) for j in range(1, 1001)]

    def timestep(self, sigma: float) -> float:
        """Return what the network is fed at a level."""
        return sigma * self.multiplier

    def sigma(self, timestep: float) -> float:
        """Return the level of a timestep."""
        return self._shift(timestep / self.multiplier)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the level at this part of the way from noise to image."""
        return 1.0 if percent <= 0 else 0.0 if percent >= 1 else self._shift(1 - percent)

    def _shift(self, t: float) -> float:
        shifted: float = apply_shift(t, self.shift)
        return shifted


@dataclass(frozen=True)
class FluxFlow:
    """Rectified flow with Flux's shift, ``e^mu / (e^mu + 1/t - 1)``, in a table of 10000; the timestep is the level."""

    mu: float = 1.15
    process = "flow"

    @cached_property
    def table(self) -> list[float]:
        """Return the levels in rising order."""
        return [self.sigma(j / 10000) for j in range(1, 10001)]

    def timestep(self, sigma: float) -> float:
        """Return what the network is fed at a level."""
        return sigma

    def sigma(self, timestep: float) -> float:
        """Return the level of a timestep."""
        return math.exp(self.mu) / (math.exp(self.mu) + (1 / timestep - 1)) if timestep else 0.0

    def percent_to_sigma(self, percent: float) -> float:
        """Return the level at this part of the way from noise to image."""
        return 1.0 if percent <= 0 else 0.0 if percent >= 1 else self.sigma(1 - percent)


@dataclass(frozen=True)
class DiscreteEpsilon:
    """Stable Diffusion's table of 1000: betas linear in their square roots, ``sigma^2 = (1 - abar) / abar``."""

    linear_start: float = 0.00085
    linear_end: float = 0.012
    process = "ve"

    @cached_property
    def table(self) -> list[float]:
        """Return the levels in rising order."""
        low, high = math.sqrt(self.linear_start), math.sqrt(self.linear_end)
        alphas = (1 - (low + (high - low) * j / 999) ** 2 for j in range(1000))
        return [math.sqrt((1 - product) / product) for product in accumulate(alphas, mul)]

    def timestep(self, sigma: float) -> float:
        """Return the index of the nearest entry in log sigma; of two as near the lower."""
        if sigma <= self.table[0]:
            return 0
        at = min(bisect_left(self.table, sigma), len(self.table) - 1)
        below, above = (abs(math.log(self.table[i]) - math.log(sigma)) for i in (at - 1, at))
        return at - 1 if below <= above else at

    def sigma(self, timestep: float) -> float:
        """Return the level between two entries, by interpolation in log sigma."""
        t = min(max(timestep, 0.0), len(self.table) - 1.0)
        low, high = math.floor(t), math.ceil(t)
        part = t - low
        return math.exp((1 - part) * math.log(self.table[low]) + part * math.log(self.table[high]))

    def percent_to_sigma(self, percent: float) -> float:
        """Return the level at this part of the way from noise to image."""
        return math.inf if percent <= 0 else 0.0 if percent >= 1 else self.sigma((1 - percent) * 999)


@dataclass(frozen=True)
class ContinuousSampling:
    """Levels spaced evenly in log sigma between two ends."""

    sigma_min: float
    sigma_max: float
    process = "ve"

    @cached_property
    def table(self) -> list[float]:
        """Return the levels in rising order."""
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return [math.exp(low + (high - low) * j / 999) for j in range(1000)]

    def timestep(self, sigma: float) -> float:
        """Return what the network is fed at a level."""
        return 0.25 * math.log(sigma) if sigma > 0 else -math.inf

    def sigma(self, timestep: float) -> float:
        """Return the level of a timestep."""
        return math.exp(timestep / 0.25)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the level at this part of the way from noise to image."""
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.inf if percent <= 0 else 0.0 if percent >= 1 else math.exp((high - low) * (1 - percent) + low)


class ContinuousEDM(ContinuousSampling):
    """EDM and SVD: the timestep is a quarter of log sigma."""


class ContinuousV(ContinuousSampling):
    """Stable Audio: the timestep is the angle of sigma, 1 at infinity.

    Near the pole of the tangent float32 differs visibly, so its rounding is followed.
    """

    def timestep(self, sigma: float) -> float:
        """Return what the network is fed at a level."""
        return to_float32(to_float32(to_float32(math.atan(sigma)) / math.pi) * 2)

    def sigma(self, timestep: float) -> float:
        """Return the level of a timestep."""
        return to_float32(math.tan(to_float32(to_float32(to_float32(timestep) * math.pi) / 2)))


def to_float32(value: float) -> float:
    """Round a number as float32 does."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


class Float32(float):
    """A number of which every operation rounds as float32 does; a Python number beside it is rounded first."""

    def __new__(cls, value: float) -> Float32:
        """Round a number."""
        return super().__new__(cls, to_float32(value))

    def __add__(self, other: float) -> Float32:
        return Float32(float(self) + to_float32(other))

    def __mul__(self, other: float) -> Float32:
        return Float32(float(self) * to_float32(other))

    def __truediv__(self, other: float) -> Float32:
        return Float32(float(self) / to_float32(other))

    __radd__, __rmul__ = __add__, __mul__


class CosmosFlow(ContinuousSampling):
    """Cosmos-Predict2: a flow written in sigma = s / (1 - s)."""

    def timestep(self, sigma: float) -> float:
        """Return what the network is fed at a level."""
        return sigma / (sigma + 1)

    def sigma(self, timestep: float) -> float:
        """Return the level of a timestep."""
        most = self.sigma_max
        return most if timestep >= most / (most + 1) else timestep / (1 - timestep)
