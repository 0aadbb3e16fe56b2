"""What a network's output means. The only module that knows: solvers see the clean latent (x0) and nothing else."""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

import torch
from torch import Tensor

from .process import FLOW, VP, NoiseProcess

__all__ = ["STUDENT_PREDICTIONS", "Prediction", "from_x0", "own_noise", "to_x0"]


class Prediction(str, Enum):
    """How to read a network's output: the noise, the velocity, or the clean latent itself.

    ``VELOCITY`` is ``noise - x0`` in the flow process (Wan, Flux, SD3) and ``alpha * noise - sigma * x0`` in the
    variance-preserving one ("v-prediction").
    """

    EPSILON = "epsilon"
    VELOCITY = "velocity"
    X0 = "x0"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        allowed = ", ".join(repr(kind.value) for kind in cls)
        raise ValueError(
            f"prediction is {value!r}; allowed are {allowed}: take what the network was trained to put out."
        )

    def __str__(self) -> str:
        return self.value

    @property
    def process(self) -> NoiseProcess:
        """The noise process in which students with this prediction are trained: VP for noise, FLOW for velocity.

        Raises:
            ValueError: x0, which is predicted alike in every process.
        """
        if self is Prediction.X0:
            raise ValueError("prediction is x0, which belongs to no one process; name the schedule's process instead.")
        return VP if self is Prediction.EPSILON else FLOW

    @classmethod
    def of_process(cls, process: NoiseProcess) -> Prediction:
        """Return what students trained in a noise process predict: velocity in FLOW, the noise in VP and VE."""
        return cls.VELOCITY if process == FLOW else cls.EPSILON


STUDENT_PREDICTIONS = (Prediction.EPSILON, Prediction.VELOCITY)
"""What a student is trained to predict; each belongs to one process."""


def to_x0(output: Tensor, x: Tensor, sigma: float, prediction: Prediction, process: NoiseProcess) -> Tensor:
    """Return the clean latent that ``output`` implies for the noisy latent ``x`` at ``sigma``.

    Args:
        output: (b, ...), what the network returned.
        x: (b, ...), the noisy latent that it saw.
        sigma: Of x, in (0, process.max_sigma].
        prediction: How to read the output.
        process: The noise process of x.

    Returns:
        (b, ...) in x's dtype: a network in half precision does not pull the run down with it.

    Raises:
        ValueError: Epsilon at pure noise (alpha = 0), where it says nothing about x0; velocity in the VE process.

    Source: DDIM, arXiv 2010.02502, eq. 12; v-prediction, arXiv 2202.00512, appendix D; flow matching, arXiv 2210.02747.
    """
    output = output.to(x.dtype)
    if prediction is Prediction.X0:
        return output
    if prediction is Prediction.EPSILON:
        alpha = process.alpha(sigma)
        _require_signal(alpha, sigma)
        # product and difference rounded one after the other, as the originals do: near pure noise the division below
        # magnifies the last bit thirtyfold
        return (x - output * sigma).div_(alpha)
    weight = process.velocity_weight(sigma)
    return torch.sub(x if weight == 1 else x * weight, output, alpha=sigma)


def from_x0(x0: Tensor, x: Tensor, sigma: float, prediction: Prediction, process: NoiseProcess) -> Tensor:
    """Return what a network with this ``prediction`` would have to put out for ``x0``: the inverse of :func:`to_x0`.

    Args:
        x0: (b, ...), the clean latent.
        x: (b, ...), the noisy one.
        sigma: Of x, in (0, process.max_sigma].
        prediction: What the network predicts.
        process: The noise process of x.

    Raises:
        ValueError: Velocity in the VE process.
    """
    if prediction is Prediction.X0:
        return x0
    if prediction is Prediction.EPSILON:
        return torch.sub(x, x0, alpha=process.alpha(sigma)).div_(sigma)
    weight = process.velocity_weight(sigma)
    return torch.sub(x if weight == 1 else x * weight, x0).div_(sigma)


def own_noise(output: Tensor, x: Tensor, prediction: Prediction) -> Tensor | None:
    """Return the noise in ``x`` where the network's output is just that, in x's dtype; None for other predictions.

    Taken back from x0 instead, it would lose its last bits.
    """
    return output.to(x.dtype) if prediction is Prediction.EPSILON else None


def _require_signal(alpha: float, sigma: float) -> None:
    if alpha <= 0:
        raise ValueError(
            f"sigma is {sigma}, pure noise, where a predicted noise (epsilon) says nothing about the image; "
            "start the schedule below pure noise or read the output as velocity."
        )
