"""Noise processes: how much of the image and how much of the noise a latent holds at sigma.

Every process here has the form ``x = alpha(sigma) * x0 + sigma * noise``. Solvers step in the half log
signal-to-noise ratio ``lambda = log(alpha) - log(sigma)``, so a process is all they need to know about one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["FLOW", "VE", "VP", "NoiseProcess"]

Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True)
class NoiseProcess:
    """One family ``x = alpha(sigma) * x0 + sigma * noise``; use the constants ``FLOW``, ``VP`` and ``VE``.

    Args:
        name: "flow", "vp" or "ve".
        label: What it is called in a sentence.
        max_sigma: The sigma of pure noise: 1, or infinity for VE. Sigma 0 is clean.
        _alpha: sigma -> the weight of the clean image.
        _from_ratio: ``sigma / alpha`` -> sigma.
        _from_time: The share of the training timesteps, 0 to 1, -> sigma.
        _velocity_weight: The weight w of ``x0 = w * x - sigma * velocity`` from alpha; None where there is no velocity.
    """

    name: str
    label: str
    max_sigma: float
    _alpha: Callable[[Any], Any] = field(repr=False, compare=False)
    _from_ratio: Callable[[Any], Any] = field(repr=False, compare=False)
    _from_time: Callable[[Any], Any] = field(repr=False, compare=False)
    _velocity_weight: Callable[[float], float] | None = field(default=None, repr=False, compare=False)

    def alpha(self, sigma: Number) -> Number:
        """Return the weight of the clean latent at ``sigma`` (a float or a tensor of any shape)."""
        alpha: Number = self._alpha(sigma)
        return alpha

    def half_log_snr(self, sigma: Number) -> Number:
        """Return ``lambda = log(alpha / sigma)``: +inf at sigma 0, -inf at pure noise (a float or a tensor)."""
        if isinstance(sigma, Tensor):
            return torch.log(self.alpha(sigma)) - torch.log(sigma)
        return _log(self.alpha(sigma)) - _log(sigma)

    def noise_ratio(self, sigma: Number) -> Number:
        """Return ``sigma / alpha``, the noise level that all processes agree on (``VE``'s own sigma)."""
        return sigma / self.alpha(sigma)

    def from_ratio(self, ratio: Number) -> Number:
        """Return the sigma at which ``sigma / alpha`` equals ``ratio``: the inverse of :meth:`noise_ratio`."""
        sigma: Number = self._from_ratio(ratio)
        return sigma

    def from_time(self, time: Number) -> Number:
        """Return the sigma that training shows at timestep ``1000 * time``: no shift and no clamp (time in [0, 1])."""
        sigma: Number = self._from_time(time)
        return sigma

    def velocity_weight(self, sigma: float) -> float:
        """Return the weight w in ``x0 = w * x - sigma * velocity``.

        Raises:
            ValueError: The process has no velocity.
        """
        if self._velocity_weight is None:
            raise ValueError(
                f"prediction is velocity, but the process is '{self.name}', which has none; use the flow or the vp "
                "process."
            )
        return self._velocity_weight(self.alpha(sigma))

    def add_noise(self, x0: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the latent that training shows at ``sigma``: the forward (DDPM or flow) noising.

        Shapes: x0 and noise (b, ...); sigma a number or (b,), one for each item. Result like x0.

        Raises:
            ValueError: Noise differs from x0 in shape.
        """
        if x0.shape != noise.shape:
            raise ValueError(
                f"noise has shape {list(noise.shape)}, but x0 has {list(x0.shape)}; make the noise in the shape of x0."
            )
        if isinstance(sigma, Tensor) and sigma.ndim:
            sigma = sigma.to(x0).reshape(-1, *[1] * (x0.ndim - 1))
        return self._alpha(sigma) * x0 + sigma * noise  # type: ignore[no-any-return]


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


FLOW = NoiseProcess(
    "flow", "the flow process", 1.0, lambda sigma: 1 - sigma, lambda r: r / (1 + r), lambda t: t, lambda alpha: 1.0
)
"""Flow matching, ``alpha = 1 - sigma``: Wan, Flux, SD3, and students that predict velocity."""

VP = NoiseProcess(
    "vp",
    "the DDIM process",
    1.0,
    lambda sigma: (1 - sigma * sigma) ** 0.5,
    lambda ratio: ratio / (1 + ratio * ratio) ** 0.5,
    lambda time: time**0.5,
    lambda alpha: alpha,
)
"""Variance preserving, ``alpha^2 = 1 - sigma^2``: the DDIM of WanDistiller's training, students that predict noise."""

VE = NoiseProcess(
    "ve",
    "the variance-exploding process",
    math.inf,
    lambda sigma: sigma * 0 + 1,
    lambda ratio: ratio,
    lambda time: (time / (1 - time)) ** 0.5,
)
"""Variance exploding, ``alpha = 1``: what ComfyUI gives a sampler for every model that is not a flow model."""
