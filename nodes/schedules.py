"""Schedules as SIGMAS: Wan's flow schedule, the DDIM schedule of training, and a plot of any SIGMAS.

The shift is applied here and nowhere else. What the numbers in SIGMAS mean is in docs/notes/0006-host-sigmas.md.
"""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..pipeline.charts import plot_schedule
from ..samplers.process import FLOW, VE
from ..samplers.schedule import Schedule, ddim_schedule, flow_schedule, wan_timestep
from .host import schema
from .processes import LinearEpsilon, noise_process

CATEGORY = "Wan Lite/schedules"


def flow_sigmas(schedule: Schedule) -> torch.Tensor:
    """The SIGMAS of a flow schedule, (n + 1,) float32, from which the truncated timesteps of training come back exactly.

    Rounding to float32 can carry a sigma over a thousandth; then the next float on the right side is taken (6e-8).
    """
    sigmas = schedule.sigmas.float()
    if schedule.timesteps is None:
        return sigmas
    levels, wanted = sigmas[:-1].clone(), schedule.timesteps
    seen = wan_timestep(levels)
    levels = torch.where(seen > wanted, torch.nextafter(levels, torch.zeros_like(levels)), levels)
    levels = torch.where(seen < wanted, torch.nextafter(levels, torch.ones_like(levels)), levels)
    return torch.cat([levels, sigmas[-1:]])


def ddim_sigmas(schedule: Schedule, model=None) -> torch.Tensor:
    """The SIGMAS of a DDIM schedule, (n + 1,) float32: noise over signal, at the model's own levels where one is given.

    A flow MODEL gets sigma = t / 1000; its native shift is left out, because the schedule's own replaces it.
    """
    model_sampling = None if model is None else model.get_model_object("model_sampling")
    if model_sampling is None or isinstance(model_sampling, LinearEpsilon):
        return schedule.to_process(VE).sigmas.float()
    if noise_process(model_sampling) is FLOW:
        levels = schedule.timesteps[schedule.timesteps > 0].float() / 1000.0
    else:
        levels = model_sampling.sigma(schedule.timesteps).float().cpu()
    return torch.cat([levels, levels.new_zeros(1)])


def steps_input(default: int) -> io.Int.Input:
    return io.Int.Input("steps", default=default, min=1, max=1000, tooltip="How many times the model is called.")


def shift_input(default: float) -> io.Float.Input:
    return io.Float.Input(
        "shift", default=default, min=0.01, max=100.0, step=0.01, round=0.001,
        tooltip="s t / (1 + (s - 1) t): above 1 more steps go to high noise; 1 leaves the steps evenly spaced. It is "
        "applied once, here: take ModelSamplingSD3 and similar nodes out.",
    )  # fmt: skip


def denoise_input() -> io.Float.Input:
    return io.Float.Input(
        "denoise", default=1.0, min=0.01, max=1.0, step=0.01,
        tooltip="Below 1 only the last part of the schedule runs, on a picture given as latent (image to image).",
    )  # fmt: skip


class WanLiteFlowSchedule(io.ComfyNode):
    """Steps, shift and denoise -> SIGMAS of a flow model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteFlowSchedule",
            display_name="Wan Lite Flow Schedule",
            category=CATEGORY,
            description="The noise levels of Wan's own code (FlowUniPC) for flow models: Wan, Flux, SD3.5 and students "
            "trained on velocity. Wan 2.2 A14B: 40 steps, shift 12. Students: 20 steps, shift 5.",
            search_aliases=["sample_shift", "flow_shift", "wan scheduler", "sigmas"],
            inputs=[steps_input(20), shift_input(5.0), denoise_input()],
            outputs=[io.Sigmas.Output(tooltip="Sigma from just below 1 (noise) to 0 (picture).")],
        )

    @classmethod
    def execute(cls, steps: int, shift: float, denoise: float) -> io.NodeOutput:
        return io.NodeOutput(flow_sigmas(flow_schedule(steps, shift, denoise)))


class WanLiteDDIMSchedule(io.ComfyNode):
    """Steps, shift and denoise -> SIGMAS at the DDIM timesteps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteDDIMSchedule",
            display_name="Wan Lite DDIM Schedule",
            category=CATEGORY,
            description="The timesteps of the training preview, 999 down to 0 in equal truncated steps, as noise levels. "
            "Without a model they are those of the students' epsilon process; with a model they are that model's own "
            "(SDXL and other epsilon or v models, or a flow model).",
            search_aliases=["ddim", "uniform timesteps", "sigmas"],
            inputs=[
                steps_input(20),
                shift_input(1.0),
                denoise_input(),
                io.Model.Input("model", optional=True, tooltip="Take the noise levels of this model at the timesteps."),
            ],
            outputs=[io.Sigmas.Output(tooltip="Noise over signal at each timestep, then 0.")],
        )

    @classmethod
    def execute(cls, steps: int, shift: float, denoise: float, model=None) -> io.NodeOutput:
        return io.NodeOutput(ddim_sigmas(ddim_schedule(steps, shift, denoise), model))


class WanLiteSchedulePlot(io.ComfyNode):
    """SIGMAS -> a picture of the curve and a table."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteSchedulePlot",
            display_name="Wan Lite Schedule Plot",
            category=CATEGORY,
            description="Draws SIGMAS, two of them over one another if you like, and writes them out step by step.",
            search_aliases=["sigma plot", "sigmas graph", "show sigmas"],
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="Any SIGMAS, of this pack or another."),
                io.Sigmas.Input("compare", optional=True, tooltip="A second curve to draw beside the first."),
            ],
            outputs=[io.Image.Output(display_name="plot"), io.String.Output(display_name="table")],
        )

    @classmethod
    def execute(cls, sigmas: torch.Tensor, compare: torch.Tensor | None = None) -> io.NodeOutput:
        curves = {"sigmas": sigmas} if compare is None else {"sigmas": sigmas, "compare": compare}
        plot = plot_schedule(curves)
        return io.NodeOutput(plot, sigma_table(curves))


def sigma_table(curves: dict[str, torch.Tensor]) -> str:
    """One line for each step: its number, each curve's sigma and the flow timestep where sigma is at most 1."""
    lines = []
    for name, sigmas in curves.items():
        lines.append(f"{name}: {len(sigmas) - 1} steps, {float(sigmas[0]):.6g} to {float(sigmas[-1]):.6g}")
        for step, sigma in enumerate(sigmas.tolist()):
            lines.append(f"{step:4d}  {sigma:.6f}" + (f"  t = {1000.0 * sigma:.2f}" if sigmas[0] <= 1.0 else ""))
    return "\n".join(lines)


NODES = [WanLiteFlowSchedule, WanLiteDDIMSchedule, WanLiteSchedulePlot]
