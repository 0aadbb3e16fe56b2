"""The solvers as SAMPLER of the host: its guided ``model(x, sigma) -> x0`` on one side, the sampling loop on the other.

The host's guider makes the predictions (its CFG, masks, LoRA and hooks act as always); solver and loop are ours.
Everything that comes in is read, nothing is written to. See docs/notes/0004-student-as-model.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor, nn

from ...samplers.mismatch import check_leftover
from ...samplers.process import VE
from ...samplers.schedule import Schedule
from ...samplers.solver import Solver, integrate
from .checks import check_sigmas, check_sigmas_shift, report_problems
from .conditioning import check_text_width
from .model_sampling import ContractFlow, FixedSchedule, get_process
from .progress import show_refusals
from .validation.links import check_sigmas as check_noise_levels
from .validation.overflow import OverflowWatch


@dataclass(frozen=True)
class SolverRun:
    """A solver, and how it is to meet the MODEL and the SIGMAS that the host gives it.

    Attributes:
        solver: Steps from level to level.
        on_mismatch: What to do where it does not fit them: ``error``, ``warn`` or ``ignore``.
        schedule: Levels to take instead of the SIGMAS, which then are only their names in float32; its node has
            checked already what there is to check.
        from_noise: Whether to start from noise alone; None finds out from the latent.
        seed: Of the noise that the solver adds; None takes that of the run.
    """

    solver: Solver
    on_mismatch: str = "error"
    schedule: Schedule | None = None
    from_noise: bool | None = None
    seed: int | None = None


def make_sampler(run: SolverRun) -> comfy.samplers.KSAMPLER:
    """Return a SAMPLER of the host."""
    return comfy.samplers.KSAMPLER(run_solver, {"run": run})


@show_refusals()
def run_solver(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    run: SolverRun,
) -> Tensor:
    """Sample as the host's sampler functions do: from ``x`` at sigmas[0] to the latent at sigmas[-1].

    Shapes:
        x and the result (b, c, ...); sigmas (n + 1,). The process is the one of the MODEL's ``model_sampling``.

    Raises:
        ValueError: Solver, MODEL and SIGMAS do not fit together, and the run is to stop then; or SIGMAS are none.
        NonFiniteError: The numbers overflowed.
    """
    del disable  # progress is the callback's
    patcher = model.inner_model.model_patcher
    check_text_width(patcher.model.diffusion_model, getattr(model.inner_model, "conds", {}))
    model_sampling = patcher.get_model_object("model_sampling")
    from_noise = is_empty_start(model) if run.from_noise is None else run.from_noise
    if run.schedule is None:
        check_noise_levels(sigmas, "sigmas")
        report_problems(find_problems(model, sigmas, run.solver, from_noise), run.on_mismatch)
    schedule = run.schedule or find_schedule(sigmas, model_sampling)
    start = make_start(model, x, model_sampling, schedule, from_noise)
    solver = seed_solver(run.solver, run.seed if run.seed is not None else (extra_args or {}).get("seed"))
    denoise = HostDenoiser(model, extra_args or {}, sigmas.dtype, model_sampling)
    latent = integrate(denoise, start, schedule, solver, on_step=denoise.make_reporter(callback, schedule))[0]
    denoise.watch.check(schedule.steps, list_inputs(model))
    return latent


class HostDenoiser:
    """The host's guided model as a denoiser of the library; keeps its last input for the preview."""

    def __init__(self, model: Any, extra_args: dict[str, Any], dtype: torch.dtype, model_sampling: nn.Module) -> None:
        self.model, self.extra_args, self.dtype = model, extra_args, dtype
        self.fixed = model_sampling if isinstance(model_sampling, FixedSchedule) else None
        self.told: list[Any] = [part for part in (model_sampling, model.inner_model) if hasattr(part, "hold_sigma")]
        self.x: Tensor | None = None
        self.sigma = 0.0
        self.watch = OverflowWatch()

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return x0 for the noisy latent ``x`` at ``sigma``. Shapes: (b, ...) both."""
        self.x, self.sigma = x, sigma
        sigmas = torch.full((x.shape[0],), sigma, dtype=self.dtype, device=x.device)
        self._tell(torch.tensor(sigma, dtype=self.dtype).item())
        try:
            x0: Tensor = self.model(x, sigmas, **self.extra_args)
        finally:
            self._tell(None)
        return x0

    def _tell(self, sigma: float | None) -> None:
        """Tell whoever asks for sigma at each call: read from the device it would hold up the queue of kernels."""
        for part in self.told:
            part.hold_sigma(sigma)

    def with_noise(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor | None]:
        """Return x0, and the network's own noise where x0 is what the network alone made: no guidance, mask or hook."""
        x0 = self(x, sigma)
        return x0, None if self.fixed is None else self.fixed.take_noise(x, x0, sigma)

    def make_reporter(self, callback: Any, schedule: Schedule) -> Any:
        """Return the loop's ``on_step``, which lets the user interrupt and tells the host of each step."""

        def report(i: int, x: Tensor, x0: Tensor) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            self.watch.see(x, x0)
            if callback is not None:
                sigma = schedule.sigma_values[i]
                callback({"i": i, "x": self.x, "sigma": sigma, "sigma_hat": self.sigma, "denoised": x0})

        return report


def list_inputs(model: Any) -> dict[str, list[tuple[str, Any]]]:
    """Return what a run was given, the tensors of each input by their names in the host."""
    found = {"latent_image": [("samples", model.latent_image)], "noise": [("samples", model.noise)]}
    for name, entries in (getattr(model.inner_model, "conds", None) or {}).items():
        parts = [item for entry in entries or () for item in entry.get("model_conds", {}).items()]
        found[name] = [(key, getattr(part, "cond", None)) for key, part in parts]
    return found


def find_schedule(sigmas: Tensor, model_sampling: nn.Module) -> Schedule:
    """Return the SIGMAS as a schedule: as a part of the contract's where they are one, with all that this one knows."""
    levels = torch.unique_consecutive(sigmas)
    if isinstance(model_sampling, ContractFlow):
        part = model_sampling.schedule.find_part(levels)
        if part is not None:
            return part
    return Schedule(levels, get_process(model_sampling))


def is_empty_start(model: Any) -> bool:
    """Whether the run starts from nothing but noise: an empty latent, and noise."""
    noise, latent = getattr(model, "noise", None), getattr(model, "latent_image", None)
    if noise is None or not torch.count_nonzero(noise):
        return False
    return latent is None or not torch.count_nonzero(latent)


def make_start(model: Any, x: Tensor, model_sampling: Any, schedule: Schedule, from_noise: bool) -> Tensor:
    """Return the latent to start from: the host's, or, where Wan's own code has it otherwise, as there.

    Wan starts from the noise itself, where the host would scale it by a first sigma of 0.9998, rCM from its noise times
    its first sigma, and a fixed schedule adds noise to an image at its own level, not at the host's float32 of it.
    """
    if from_noise and schedule.process is not VE:
        one = torch.ones((), device=model.noise.device)
        return schedule.start(model_sampling.noise_scaling(one, model.noise, torch.zeros_like(model.noise)))
    if isinstance(model_sampling, FixedSchedule):
        return schedule.process.add_noise(model.latent_image, model.noise, schedule.sigma_values[0])
    return x


def seed_solver(solver: Solver, seed: int | None) -> Solver:
    """Return the solver with the run's seed for the noise that it adds; others add none."""
    return replace(solver, seed=seed or 0) if hasattr(solver, "seed") else solver  # type: ignore[type-var]


def find_problems(model: Any, sigmas: Tensor, solver: Solver, from_noise: bool) -> Iterator[str | None]:
    """Yield a sentence for everything that does not fit together; the MODEL's guard has compared its contract."""
    patcher = model.inner_model.model_patcher
    yield check_sigmas(patcher.get_model_object("model_sampling"), sigmas, from_noise)
    yield check_sigmas_shift(patcher, sigmas)
    yield check_leftover(sigmas, solver.name, solver.order)
