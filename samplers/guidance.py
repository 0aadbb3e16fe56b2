"""Networks made of networks: guidance, and the teacher's two experts. A solver sees one network either way."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..training_rules import TEACHER_BOUNDARIES, is_high_noise
from .solver import Network

__all__ = ["apply_guidance", "combine_experts"]


def apply_guidance(positive: Network, negative: Network, cfg: float) -> Network:
    """Return a network with classifier-free guidance: ``negative + cfg * (positive - negative)``.

    With cfg 1 that is ``positive`` itself, and ``negative`` is never called.

    Args:
        positive: The network with the prompt.
        negative: The network with what to steer away from.
        cfg: The guidance.

    Shapes: as the networks', (x (b, ...), timestep (b,)) -> (b, ...).

    Source: arXiv 2207.12598, as Wan applies it.
    """
    if cfg == 1:
        return positive

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        away = negative(x, timestep)
        return away + cfg * (positive(x, timestep) - away)

    return network


def combine_experts(high: Network, low: Network, *, boundary: float = TEACHER_BOUNDARIES["t2v"]) -> Network:
    """Return Wan A14B's pair of experts as one network: ``high`` from timestep ``1000 * boundary`` up, ``low`` below.

    The timestep decides, as it is fed (:func:`is_high_noise`). Give each expert its own guidance with
    :func:`apply_guidance`; the solver runs once over both, so its history crosses the boundary.

    Args:
        high: The high-noise expert.
        low: The low-noise expert.
        boundary: In [0, 1]; 0.875 for text to video (with guidance 4 high and 3 low), 0.9 for image to video.

    Raises:
        ValueError: Boundary outside [0, 1].

    Source: Wan2.2 at 42bf4cf, text2video; tests/vectors/samplers/experts.safetensors.
    """
    if not 0 <= boundary <= 1:
        raise ValueError(
            f"boundary is {boundary!r}; allowed are numbers from 0 to 1; Wan's A14B models use "
            f"{' or '.join(map(str, TEACHER_BOUNDARIES.values()))}."
        )

    return ExpertPair(high, low, boundary)


@dataclass(frozen=True)
class ExpertPair:
    """Two networks as one; the one in charge can be asked for by the timestep's number, which is not read then."""

    high: Network
    low: Network
    boundary: float

    def choose(self, timestep: float) -> Network:
        """Return the network in charge at a timestep, as it is fed."""
        return self.high if is_high_noise(timestep, self.boundary) else self.low

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        """Predict from x (b, ...) at timestep (b,), which is read from its device -> (b, ...)."""
        return self.choose(float(timestep[0]))(x, timestep)
