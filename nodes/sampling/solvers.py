"""The solvers as SAMPLER, for core's SamplerCustomAdvanced and every MODEL of the host.

:func:`run_solver` is the whole adapter: the host's ``model(x, sigma) -> x0`` and SIGMAS on one side, a solver, a
schedule and the one sampling loop on the other. It reads everything and writes to nothing that came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ...samplers.ddim import DDIM, Churn
from ...samplers.dpmpp import FlowDPMpp
from ...samplers.process import FLOW
from ...samplers.schedule import Schedule
from ...samplers.solver import Solver, integrate
from ...samplers.threshold import DynamicThreshold
from ...samplers.unipc import FlowUniPC
from ..host.checks import (
    contract_of,
    fixed_steps_problem,
    leftover_problem,
    mismatch_input,
    settle,
    sigmas_problem,
    sigmas_shift_problem,
    solver_problems,
)
from ..host.model_sampling import noise_process
from ..host.schema import ADVANCED, CATEGORY, schema

SOLVER_NAMES = {DDIM: "ddim", FlowUniPC: "flow_unipc", FlowDPMpp: "flow_dpmpp"}  # as a contract calls them


@dataclass(frozen=True)
class Settings:
    """A solver and what to do when it does not fit the MODEL and SIGMAS it meets."""

    solver: Solver
    on_mismatch: str = "error"


def sampler_of(solver: Solver, on_mismatch: str = "error") -> comfy.samplers.KSAMPLER:
    """A SAMPLER of the host that runs ``solver``."""
    return comfy.samplers.KSAMPLER(run_solver, {"settings": Settings(solver, on_mismatch)})


def run_solver(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    settings: Settings,
) -> Tensor:
    """The host's sampler function: ``x`` at sigmas[0] -> the latent at sigmas[-1], in the host's process.

    Shapes: x and the result (b, c, ...); sigmas (n + 1,). The process is the one of the MODEL's ``model_sampling``.
    """
    del disable  # progress is the callback's
    patcher = model.inner_model.model_patcher
    model_sampling = patcher.get_model_object("model_sampling")
    from_noise = starts_empty(model)
    settle(problems(model, sigmas, settings, from_noise), settings.on_mismatch)
    schedule = Schedule(torch.unique_consecutive(sigmas), noise_process(model_sampling))
    if from_noise and schedule.process is FLOW:
        x = pure_noise(model, model_sampling)
    seed = (extra_args or {}).get("seed")
    solver = for_run(settings.solver, seed)
    host = WatchedDenoiser(model, extra_args or {}, sigmas.dtype)
    x, _ = integrate(host, x, schedule, solver, on_step=host.reporter(callback, schedule))
    return x


class WatchedDenoiser:
    """The host's guided model as a denoiser: (x, sigma as a float) -> x0. Remembers its last input for the preview."""

    def __init__(self, model: Any, extra_args: dict[str, Any], dtype: torch.dtype) -> None:
        self.model, self.extra_args, self.dtype = model, extra_args, dtype
        self.x: Tensor | None = None
        self.sigma = 0.0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.x, self.sigma = x, sigma
        sigmas = torch.full((x.shape[0],), sigma, dtype=self.dtype, device=x.device)
        x0: Tensor = self.model(x, sigmas, **self.extra_args)
        return x0

    def reporter(self, callback: Any, schedule: Schedule) -> Any:
        """The loop's ``on_step`` that tells the host of each step, or None where the host does not want to know."""
        if callback is None:
            return None

        def report(i: int, x: Tensor, x0: Tensor) -> None:
            sigma = schedule.levels[i]
            callback({"i": i, "x": self.x, "sigma": sigma, "sigma_hat": self.sigma, "denoised": x0})

        return report


def starts_empty(model: Any) -> bool:
    """Whether the run starts from nothing but noise: an empty latent, and noise."""
    noise, latent = getattr(model, "noise", None), getattr(model, "latent_image", None)
    if noise is None or not torch.count_nonzero(noise):
        return False
    return latent is None or not torch.count_nonzero(latent)


def pure_noise(model: Any, model_sampling: Any) -> Tensor:
    """Wan's start: the noise itself, where the host would scale it by a first sigma of 0.9998."""
    one = torch.ones((), device=model.noise.device)
    noise: Tensor = model_sampling.noise_scaling(one, model.noise, torch.zeros_like(model.noise))
    return noise


def for_run(solver: Solver, seed: int | None) -> Solver:
    """The solver with the run's seed for the noise that it adds; others add none."""
    return replace(solver, seed=seed or 0) if isinstance(solver, DDIM) else solver


def problems(model: Any, sigmas: Tensor, settings: Settings, from_noise: bool) -> Iterator[str | None]:
    """Everything that does not fit, in words."""
    patcher, name = model.inner_model.model_patcher, SOLVER_NAMES[type(settings.solver)]
    contract = contract_of(patcher)
    yield sigmas_problem(patcher.get_model_object("model_sampling"), sigmas, from_noise)
    yield sigmas_shift_problem(patcher, sigmas)
    yield leftover_problem(sigmas, name, settings.solver.order)
    yield fixed_steps_problem(contract, sigmas)
    yield from solver_problems(contract, patcher, name, sigmas)


# Nodes ---------------------------------------------------------------------------------------------------------------


def threshold_inputs() -> list[Any]:
    return [
        io.Float.Input(
            "dynamic_threshold", default=0.0, min=0.0, max=1.0, step=0.001, round=0.0001, **ADVANCED,
            tooltip="0 is off. Otherwise each picture's prediction is limited to this quantile of its own values "
            "(0.995 is usual). Made for pixel models; it flattens latents.",
        ),
        io.Float.Input(
            "threshold_max", default=1.0, min=1.0, max=100.0, step=0.1, **ADVANCED,
            tooltip="The largest limit that dynamic_threshold may find; 1 clamps to [-1, 1].",
        ),
    ]  # fmt: skip


def threshold_of(ratio: float, largest: float) -> DynamicThreshold | None:
    return DynamicThreshold(ratio, largest) if ratio > 0 else None


class WanLiteSolverFlowUniPC(io.ComfyNode):
    """Wan's own solver as SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteSolverFlowUniPC",
            display_name="Wan Lite Solver FlowUniPC",
            category=f"{CATEGORY}/solvers",
            description="The solver of Wan's own code, which ComfyUI's uni_pc is not. Give it WanLiteFlowSchedule "
            "for flow models; with SDXL and other epsilon or v models it steps in their own noise levels.",
            search_aliases=["unipc", "uni_pc", "unipc_bh2", "wan sampler"],
            inputs=[
                io.Int.Input(
                    "order", default=2, min=1, max=3,
                    tooltip="How many predictions it combines. 2 is Wan's; 1 has no memory; 3 is for smooth models.",
                ),
                io.Combo.Input(
                    "kind", options=["bh2", "bh1"], default="bh2", **ADVANCED,
                    tooltip="The weighting B(h) of the UniPC paper. bh2 is Wan's.",
                ),
                io.Int.Input(
                    "skip_corrector", default=0, min=0, max=1000, **ADVANCED,
                    tooltip="The first this many steps are not corrected afterwards (steadier with strong guidance).",
                ),
                *threshold_inputs(),
                mismatch_input(),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, order: int, kind: str = "bh2", skip_corrector: int = 0, dynamic_threshold: float = 0.0,
        threshold_max: float = 1.0, on_mismatch: str = "error",
    ) -> io.NodeOutput:  # fmt: skip
        threshold = threshold_of(dynamic_threshold, threshold_max)
        solver = FlowUniPC(order, kind, tuple(range(skip_corrector)), threshold, process=None)
        return io.NodeOutput(sampler_of(solver, on_mismatch))


class WanLiteSolverFlowDPMpp(io.ComfyNode):
    """Wan's second solver as SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteSolverFlowDPMpp",
            display_name="Wan Lite Solver FlowDPM++",
            category=f"{CATEGORY}/solvers",
            description="Wan's second solver, DPM++ 2M in the flow process: like FlowUniPC without its corrector.",
            search_aliases=["dpm++", "dpmpp_2m", "wan dpm"],
            inputs=[
                io.Int.Input("order", default=2, min=1, max=2, tooltip="How many predictions it combines. 2 is Wan's."),
                *threshold_inputs(),
                mismatch_input(),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls, order: int, dynamic_threshold: float = 0.0, threshold_max: float = 1.0, on_mismatch: str = "error"
    ) -> io.NodeOutput:
        solver = FlowDPMpp(order, threshold_of(dynamic_threshold, threshold_max), process=None)
        return io.NodeOutput(sampler_of(solver, on_mismatch))


class WanLiteSolverDDIM(io.ComfyNode):
    """DDIM as SAMPLER, with DDPM's noise and churn as options."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteSolverDDIM",
            display_name="Wan Lite Solver DDIM",
            category=f"{CATEGORY}/solvers",
            description="The true DDIM (ComfyUI's is Euler), as the training preview of the students runs it. Give it "
            "WanLiteDDIMSchedule. On a flow model it is Euler's method.",
            search_aliases=["ddim", "ddpm", "ancestral", "eta"],
            inputs=[
                io.Float.Input(
                    "eta", default=0.0, min=0.0, max=1.0, step=0.01,
                    tooltip="Share of fresh noise in each step: 0 none (training), 1 as much as DDPM.",
                ),
                io.Float.Input(
                    "clip_x0", default=0.0, min=0.0, max=100.0, step=0.1, **ADVANCED,
                    tooltip="0 is off. Otherwise the predicted latent is clamped to plus and minus this.",
                ),
                io.Float.Input(
                    "s_noise", default=1.0, min=0.0, max=10.0, step=0.01, **ADVANCED,
                    tooltip="Factor on the noise that eta and s_churn add.",
                ),
                io.Float.Input(
                    "s_churn", default=0.0, min=0.0, max=100.0, step=0.1, **ADVANCED,
                    tooltip="0 is off. Otherwise noise is raised before each step by this over the number of steps.",
                ),
                io.Float.Input(
                    "s_tmin", default=0.0, min=0.0, max=1000.0, step=0.001, round=False, **ADVANCED,
                    tooltip="s_churn acts only where sigma is at least this.",
                ),
                io.Float.Input(
                    "s_tmax", default=1000.0, min=0.0, max=1000.0, step=0.001, round=False, **ADVANCED,
                    tooltip="s_churn acts only where sigma is at most this.",
                ),
                *threshold_inputs(),
                mismatch_input(),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, eta: float, clip_x0: float = 0.0, s_noise: float = 1.0, s_churn: float = 0.0, s_tmin: float = 0.0,
        s_tmax: float = 1000.0, dynamic_threshold: float = 0.0, threshold_max: float = 1.0, on_mismatch: str = "error",
    ) -> io.NodeOutput:  # fmt: skip
        churn = Churn(s_churn, s_tmin, s_tmax) if s_churn > 0 else None
        threshold = threshold_of(dynamic_threshold, threshold_max)
        solver = DDIM(eta, clip_x0 or None, s_noise, threshold, churn)
        return io.NodeOutput(sampler_of(solver, on_mismatch))


NODES = [WanLiteSolverFlowUniPC, WanLiteSolverFlowDPMpp, WanLiteSolverDDIM]
