"""Schedules as SIGMAS: Wan's flow schedule and the DDIM schedule of training.

The shift is applied here and nowhere else. What the numbers in SIGMAS mean is in docs/notes/0006-host-sigmas.md.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...samplers.schedule import ddim_schedule, dpmpp_schedule, flow_schedule
from ..host.model_sampling import to_ddim_sigmas, to_flow_sigmas
from ..host.schema import CATEGORY, Node, choice_input, float_input, int_input, make_schema

FLOW_SCHEDULES = {"FlowUniPC": flow_schedule, "FlowDPM++": dpmpp_schedule}


def steps_input(default: int) -> io.Int.Input:
    """Return the input for the number of steps."""
    return int_input("steps", default, (1, 1000), "How many times the model is called.")


def shift_input(default: float) -> io.Float.Input:
    """Return the input for the rational shift of a schedule."""
    return float_input(
        "shift",
        default,
        (0.01, 100.0),
        "s t / (1 + (s - 1) t): above 1 more steps go to high noise; 1 leaves the steps evenly spaced. "
        "It is applied once, here: take ModelSamplingSD3 and similar nodes out.",
        step=0.01,
        round=0.001,
    )


def denoise_input() -> io.Float.Input:
    """Return the input for the share of the schedule that runs."""
    return float_input(
        "denoise",
        1.0,
        (0.01, 1.0),
        "Below 1 only the last part of the schedule runs, on an image given as latent (image to image).",
        step=0.01,
    )


class WanLiteFlowSchedule(Node):
    """Steps, shift and denoise -> SIGMAS of a flow model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteFlowSchedule",
            display_name="Wan Lite Flow Schedule",
            category=f"{CATEGORY}/schedules",
            description="The noise levels of Wan's own code (FlowUniPC) for flow models: Wan, Flux, SD3.5 and students "
            "trained on velocity. Wan 2.2 A14B: 40 steps, shift 12. Students: 20 steps, shift 5.",
            search_aliases=["scheduler", "flow scheduler", "sample_shift", "flow_shift", "wan scheduler", "sigmas"],
            inputs=[
                steps_input(20),
                shift_input(5.0),
                denoise_input(),
                choice_input(
                    "made_for",
                    FLOW_SCHEDULES,
                    "Wan's two solvers start differently: FlowUniPC just below 1 (timestep 999), FlowDPM++ at 1 "
                    "exactly (timestep 1000).",
                    default="FlowUniPC",
                    advanced=True,
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="Sigma from 1 (noise), or just below, to 0 (image).")],
        )

    @classmethod
    def execute(
        cls, steps: int = 20, shift: float = 5.0, denoise: float = 1.0, made_for: str = "FlowUniPC"
    ) -> io.NodeOutput:
        return io.NodeOutput(to_flow_sigmas(FLOW_SCHEDULES[made_for](steps, shift=shift, denoise=denoise)))


class WanLiteDDIMSchedule(Node):
    """Steps, shift and denoise -> SIGMAS at the DDIM timesteps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteDDIMSchedule",
            display_name="Wan Lite DDIM Schedule",
            category=f"{CATEGORY}/schedules",
            description="The timesteps of the training preview, 999 down to 0 in equal truncated steps, as noise "
            "levels. Without a model they are those of the students' epsilon process; with a model they are that "
            "model's own (SDXL and other epsilon or v models, or a flow model).",
            search_aliases=["scheduler", "ddim scheduler", "uniform timesteps", "sigmas"],
            inputs=[
                steps_input(20),
                shift_input(1.0),
                denoise_input(),
                io.Model.Input("model", optional=True, tooltip="Take the noise levels of this model at the timesteps."),
            ],
            outputs=[io.Sigmas.Output(tooltip="Noise over signal at each timestep, then 0.")],
        )

    @classmethod
    def execute(cls, steps: int = 20, shift: float = 1.0, denoise: float = 1.0, model: Any = None) -> io.NodeOutput:
        return io.NodeOutput(to_ddim_sigmas(ddim_schedule(steps, shift=shift, denoise=denoise), model))


NODES = [WanLiteFlowSchedule, WanLiteDDIMSchedule]
