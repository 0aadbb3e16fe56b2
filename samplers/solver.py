"""What a solver is, and the only sampling loop.

A solver makes one step from sigma to sigma. It knows clean latents (x0) and sigma; timesteps and the meaning of the
network's output are dealt with in :func:`sample`. All memory of a run is in the state that a step
returns, so one solver object serves any number of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from .prediction import Prediction, own_noise, to_x0
from .process import NoiseProcess
from .schedule import DefaultSchedule, Schedule

__all__ = ["Denoiser", "Network", "NetworkDenoiser", "OnStep", "Solver", "Step", "integrate", "sample"]

Denoiser = Callable[[Tensor, float], Tensor]
"""A clean latent from a noisy one: (x (b, ...), sigma) -> x0 (b, ...)."""

Network = Callable[[Tensor, Tensor], Tensor]
"""A network with text and device taken care of: (x (b, ...), timestep (b,)) -> output (b, ...)."""

OnStep = Callable[[int, Tensor, Tensor], None]
"""What is called after each step: (step, x after the step, x0 that the step saw)."""


class Step(NamedTuple):
    """One step's result: the latent at the next sigma, the clean latent that the step saw, the new state."""

    x: Tensor
    x0: Tensor
    state: Any


class Solver(Protocol):
    """One numerical method, a frozen dataclass of its options.

    Attributes:
        name: What contracts and the command line call it.
        label: What people call it, in a few words.
        schedules: What it is run on by default, by noise process, its own process first. A contract whose prediction is
            read in another process is refused.
        diffusers: The scheduler classes of diffusers that it follows, by name, and the process they run in.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    schedules: ClassVar[Mapping[NoiseProcess, DefaultSchedule]]
    diffusers: ClassVar[Mapping[str, NoiseProcess]]

    @property
    def order(self) -> int:
        """How many predictions a step combines; 1 has no memory of earlier steps."""
        ...

    @property
    def convergence_order(self) -> int | None:
        """The order of convergence to the exact solution on a smooth problem, None where fresh noise is added."""
        ...

    @property
    def process(self) -> NoiseProcess | None:
        """The process whose schedules :func:`sample` accepts for this solver."""
        ...

    def init(self, schedule: Schedule) -> Any:
        """Return the state before the first step of ``schedule``."""
        ...

    def step(self, denoise: Denoiser, x: Tensor, i: int, schedule: Schedule, state: Any) -> Step:
        """Step from sigma ``i`` to sigma i + 1.

        Args:
            denoise: Gives x0 of a latent at a sigma.
            x: (b, ...), the latent at sigma i; it is not changed.
            i: Index of the step.
            schedule: Of the run.
            state: Of the step before, or of :meth:`init`; it is not changed.
        """
        ...


def sample(
    network: Network,
    noise: Tensor,
    schedule: Schedule,
    solver: Solver,
    *,
    prediction: Prediction,
    on_step: OnStep | None = None,
    start: int = 0,
) -> Tensor:
    """Run ``solver`` over ``schedule`` and return the latent at its last sigma (x0 when that is 0). No gradients.

    Args:
        network: ``network(x, timestep) -> output``, x (b, ...), timestep (b,) exactly as training fed it, int64 or
            float32.
        noise: (b, ...) floating point. For a full run plain noise of standard deviation 1, which the schedule scales
            where its family does; from a later ``start`` the latent there.
        schedule: The sigmas to visit and the timesteps to feed.
        solver: The method.
        prediction: How to read the network's output.
        on_step: Called as ``on_step(i, x, x0)`` after step i with the latent it returned and the x0 it saw.
        start: Index of the first step; later steps only, with no history before it.

    Raises:
        ValueError: The solver belongs to another noise process, ``noise`` is not a floating point batch, or ``start``
            is outside the schedule.
    """
    if solver.process is not None and solver.process != schedule.process:
        raise ValueError(
            f"solver {type(solver).__name__} works in the '{solver.process.name}' process, but the schedule is of "
            f"'{schedule.process.name}'; use a '{solver.process.name}' schedule or the DDIM solver."
        )
    denoise = NetworkDenoiser(network, schedule, Prediction(prediction))
    with torch.no_grad():
        x = noise if start else schedule.start(noise)
        x, _ = integrate(denoise, x, schedule, solver, start=start, on_step=on_step)
    return x


def integrate(  # noqa: PLR0913 - the loop's place in the run is four of them
    denoise: Denoiser,
    x: Tensor,
    schedule: Schedule,
    solver: Solver,
    *,
    start: int = 0,
    stop: int | None = None,
    state: Any = None,
    on_step: OnStep | None = None,
) -> tuple[Tensor, Any]:
    """Run steps ``start`` to ``stop`` (all by default) and return the latent and the solver's state.

    Handing both back with ``start=stop`` continues the run exactly as if it had not been cut.

    Args:
        denoise: ``denoise(x, sigma) -> x0``, such as a :class:`NetworkDenoiser`.
        x: (b, ...) floating point, the latent at sigma ``start``; it is never written to.
        schedule: The sigmas to visit.
        solver: The method.
        start: Index of the first step.
        stop: Index behind the last step; None is the schedule's end.
        state: What an earlier call returned, or None to begin without history.
        on_step: Called as ``on_step(i, x, x0)`` after step i.

    Returns:
        The latent (b, ...) at sigma ``stop``, and the state to continue with.

    Raises:
        ValueError: x is not a floating point batch, or start and stop do not lie in the schedule; the state is of
            another place in the run.
    """
    stop = schedule.steps if stop is None else stop
    if not 0 <= start < stop <= schedule.steps:
        raise ValueError(
            f"start is {start} and stop is {stop}; a schedule of {schedule.steps} steps allows "
            f"0 <= start < stop <= {schedule.steps}."
        )
    if not x.is_floating_point() or x.ndim < 1:
        raise ValueError(f"x is {x.dtype} of shape {list(x.shape)}; give a floating point batch of latents (b, ...).")
    if state is None:
        state = solver.init(schedule)
    for i in range(start, stop):
        x, x0, state = solver.step(denoise, x, i, schedule, state)
        if on_step is not None:
            on_step(i, x, x0)
        del x0
    return x, state


@dataclass(frozen=True)
class NetworkDenoiser:
    """A network as a denoiser: fed the timestep that belongs to sigma, its output read as x0."""

    network: Network
    schedule: Schedule
    prediction: Prediction

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return x0 for the noisy latent ``x`` at ``sigma``. Shapes: (b, ...) both."""
        return to_x0(self._call_network(x, sigma), x, sigma, self.prediction, self.schedule.process)

    def with_noise(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor | None]:
        """Return x0 of ``x`` (b, ...) at ``sigma``, and its noise where that is the network's own output."""
        output = self._call_network(x, sigma)
        x0 = to_x0(output, x, sigma, self.prediction, self.schedule.process)
        return x0, own_noise(output, x, self.prediction)

    def _call_network(self, x: Tensor, sigma: float) -> Tensor:
        fed = self.schedule.timestep_at(sigma)
        timestep = torch.full((x.shape[0],), fed, dtype=self.schedule.timestep_dtype, device=x.device)
        # a network of several chooses by the number, which need not be read from the device then
        choose = getattr(self.network, "choose", None)
        network: Network = self.network if choose is None else choose(fed)
        return network(x, timestep)
