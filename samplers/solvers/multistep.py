"""What solvers with a memory share: the history of a run, and weighted sums of latents."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["History", "Point", "weighted_sum"]


class Point(NamedTuple):
    """A clean prediction and the half log-SNR it was made at."""

    lam: float
    x0: Tensor


@dataclass(frozen=True)
class History:
    """The state of a multistep run before step ``next_step``; empty before the first.

    ``points`` are the latest predictions, newest first; ``last`` and ``order`` are the latent that the last step
    started from and the order it was made with (a corrector needs them).
    """

    points: tuple[Point, ...] = ()
    last: Tensor | None = None
    order: int = 0
    next_step: int | None = None

    def require_next(self, step: int) -> None:
        """Raise ValueError when this history does not lead up to ``step``."""
        if self.next_step is not None and self.next_step != step:
            raise ValueError(
                f"the solver's state belongs before step {self.next_step}, but step {step} was asked for; "
                f"continue with start={self.next_step}, or start at {step} with no state."
            )

    def older(self) -> list[Point]:
        """Return the earlier points that carry a slope: one made at pure noise (lambda = -inf) carries none."""
        return [point for point in self.points[1:] if math.isfinite(point.lam)]


def weighted_sum(x: Tensor, scale: float, terms: Iterable[tuple[float, Tensor]]) -> Tensor:
    """Return ``scale * x + sum(weight * term)`` in x's dtype, allocating the result and nothing else."""
    total = torch.mul(x, scale)
    for weight, term in terms:
        total.add_(term, alpha=weight)
    return total
