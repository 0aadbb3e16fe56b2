"""FlowUniPC: Wan's own sampler, a multistep predictor and corrector of order 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..process import FLOW, NoiseProcess
from ..schedule import DefaultSchedule, Schedule, flow_schedule
from ..solver import Denoiser, Step
from .multistep import History, Point

__all__ = ["FlowUniPC"]


@dataclass(frozen=True)
class FlowUniPC:
    """UniPC with data prediction, as Wan runs it: order 2, "bh2", corrector at every step but the first.

    Args:
        order: 1, 2 or 3.
        kind: "bh2" or "bh1", the paper's two choices of B(h).
        disable_corrector: Steps whose result is not corrected afterwards.

    The last step to sigma 0 returns x0 itself, for every order and kind (Wan's bh1 yields NaN there).

    Raises:
        ValueError: Order or kind is not one of those.

    Source: UniPC, arXiv 2302.04867, algorithms 1 and 2; parity with Wan2.2 at 42bf4cf, tests/vectors/samplers.
    """

    order: int = 2
    kind: str = "bh2"
    disable_corrector: tuple[int, ...] = ()

    name: ClassVar[str] = "flow_unipc"
    label: ClassVar[str] = "UniPC"
    schedules: ClassVar[Mapping[NoiseProcess, DefaultSchedule]] = {FLOW: DefaultSchedule(flow_schedule, 20, 5.0)}
    diffusers: ClassVar[Mapping[str, NoiseProcess]] = {
        "UniPCMultistepScheduler": FLOW,
        "FlowUniPCMultistepScheduler": FLOW,
    }
    process: NoiseProcess | None = FLOW

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"order is {self.order!r}; allowed are 1, 2 and 3; Wan uses 2.")
        if self.kind not in ("bh1", "bh2"):
            raise ValueError(f"kind is {self.kind!r}; allowed are 'bh1' and 'bh2'; Wan uses 'bh2'.")
        object.__setattr__(self, "disable_corrector", tuple(self.disable_corrector))

    @property
    def convergence_order(self) -> int:
        """Return one more than ``order`` (the corrector's, UniPC, theorem 3.1), and 3 at most.

        The first step has no history: corrected it is of order 2, whose one error of size h^3 stays. Where some steps
        are not corrected, the order is that of the predictor, 2 at most for the same reason.
        """
        return min(self.order, 2) if self.disable_corrector else min(self.order + 1, 3)

    def init(self, schedule: Schedule) -> History:
        """Return the empty history."""
        del schedule
        return History()

    def step(self, denoise: Denoiser, x: Tensor, i: int, schedule: Schedule, state: History) -> Step:
        """Step from sigma i to sigma i + 1 of ``schedule``. Shapes: x (b, ...).

        The clean prediction is made once, on the uncorrected latent, and serves corrector and predictor.
        """
        state.require_next(i)
        x0 = denoise(x, schedule.sigma_values[i])
        if state.last is not None and i - 1 not in self.disable_corrector:
            x = self._correct(x0, i, schedule, state)
        points = (Point(schedule.process.half_log_snr(schedule.sigma_values[i]), x0), *state.points)[: self.order]
        # order falls towards the end, where lambda runs to infinity; a run that keeps noise has no such end
        left = schedule.steps - i if schedule.ends_clean else self.order
        history = History(points, x, min(self.order, left), i + 1)
        return Step(self._predict(x, i, schedule, history), x0, history)

    def _predict(self, x: Tensor, i: int, schedule: Schedule, history: History) -> Tensor:
        """UniP: from sigma i to i + 1 with the predictions at i and before."""
        now = history.points[0]
        if schedule.sigma_values[i + 1] == 0:
            return now.x0
        return self._move(x, i, schedule, now, history.older()[: history.order - 1], None)

    def _correct(self, x0: Tensor, i: int, schedule: Schedule, state: History) -> Tensor:
        """UniC: repeat the step from sigma i - 1 to i, now with the prediction at i known."""
        assert state.last is not None
        return self._move(state.last, i - 1, schedule, state.points[0], state.older()[: state.order - 1], x0)

    def _move(
        self, x: Tensor, i: int, schedule: Schedule, now: Point, older: Sequence[Point], new: Tensor | None
    ) -> Tensor:
        """One exponential-integrator step from sigma i to i + 1; ``new`` is the prediction at i + 1, if known."""
        process, sigma, target = schedule.process, schedule.sigma_values[i], schedule.sigma_values[i + 1]
        h = process.half_log_snr(target) - now.lam
        nodes = [(point.lam - now.lam) / h for point in older]
        latents = [point.x0 for point in older]
        if new is not None:
            nodes, latents = [*nodes, 1.0], [*latents, new]
        alpha, phi = process.alpha(target), math.expm1(-h)
        # from pure noise h is infinite, where only bh2's B(h) stays finite
        scale = phi if self.kind == "bh2" or math.isinf(h) else -h
        moved = torch.mul(x, target / sigma).add_(now.x0, alpha=-alpha * phi)
        if not nodes:
            return moved
        slopes = [rho / node for rho, node in zip(_solve_bh_weights(nodes, -h, scale), nodes, strict=True)]
        return moved.add_(_compute_slope(slopes, latents, now.x0), alpha=-alpha * scale)


def _compute_slope(weights: Sequence[float], latents: Sequence[Tensor], origin: Tensor) -> Tensor:
    """Return ``sum(weight * (latent - origin))``. Differences first: they are small, and stay exact in float32."""
    total = torch.sub(latents[0], origin).mul_(weights[0])
    for weight, latent in zip(weights[1:], latents[1:], strict=True):
        total.add_(torch.sub(latent, origin), alpha=weight)
    return total


def _solve_bh_weights(nodes: Sequence[float], hh: float, scale: float) -> list[float]:
    """Solve the paper's order conditions ``R(h) a = phi(h) / B(h)`` for the weights at ``nodes`` (in units of h).

    One node has the weight 1/2 at any h, as the paper recommends and Wan does.
    """
    if len(nodes) <= 1:
        return [0.5] * len(nodes)
    phi, factorial = math.expm1(hh) / hh - 1, 1.0
    powers, targets = [], []
    for n in range(1, len(nodes) + 1):
        powers.append([node ** (n - 1) for node in nodes])
        targets.append(phi * factorial / scale)
        factorial *= n + 1
        phi = phi / hh - 1 / factorial
    matrix = torch.tensor(powers, dtype=torch.float64, device="cpu")
    weights = torch.linalg.solve(matrix, torch.tensor(targets, dtype=torch.float64, device="cpu"))
    return [float(weight) for weight in weights]
