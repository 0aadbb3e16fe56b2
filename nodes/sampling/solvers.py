"""The solvers as SAMPLER, for core's SamplerCustomAdvanced and every MODEL of the host."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...samplers.solvers import DDIM, Churn, FlowDPMpp, FlowUniPC
from ..host.checks import mismatch_input
from ..host.schema import CATEGORY, Node, choice_input, float_input, int_input, make_schema
from ..host.solver_adapter import SolverRun, make_sampler


def make_solver_schema(inputs: list[io.Input], **words: Any) -> io.Schema:
    """Return the schema of a solver's node: its own inputs, ``on_mismatch``, and one SAMPLER."""
    outputs = [io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")]
    return make_schema(category=f"{CATEGORY}/solvers", inputs=[*inputs, mismatch_input()], outputs=outputs, **words)


class WanLiteSolverFlowUniPC(Node):
    """Wan's own solver as SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_solver_schema(
            node_id="WanLiteSolverFlowUniPC",
            display_name="Wan Lite Solver FlowUniPC",
            description="The solver of Wan's own code, which ComfyUI's uni_pc is not. Give it WanLiteFlowSchedule "
            "for flow models; with SDXL and other epsilon or v models it steps in their own noise levels.",
            search_aliases=["unipc", "uni_pc", "unipc_bh2", "wan sampler"],
            inputs=[
                int_input(
                    "order",
                    2,
                    (1, 3),
                    "How many predictions it combines. 2 is Wan's; 1 has no memory; 3 is for smooth models.",
                ),
                choice_input(
                    "kind",
                    ["bh2", "bh1"],
                    "The weighting B(h) of the UniPC paper. bh2 is Wan's.",
                    default="bh2",
                    advanced=True,
                ),
                int_input(
                    "skip_corrector",
                    0,
                    (0, 1000),
                    "The first this many steps are not corrected afterwards (steadier with strong guidance).",
                    advanced=True,
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        order: int = 2,
        kind: str = "bh2",
        skip_corrector: int = 0,
        on_mismatch: str = "error",
    ) -> io.NodeOutput:
        solver = FlowUniPC(order, kind, tuple(range(skip_corrector)), process=None)
        return io.NodeOutput(make_sampler(SolverRun(solver, on_mismatch)))


class WanLiteSolverFlowDPMpp(Node):
    """Wan's second solver as SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_solver_schema(
            node_id="WanLiteSolverFlowDPMpp",
            display_name="Wan Lite Solver FlowDPM++",
            description="Wan's second solver, DPM++ 2M in the flow process: like FlowUniPC without its corrector.",
            search_aliases=["dpm++", "dpmpp_2m", "wan dpm"],
            inputs=[
                int_input("order", 2, (1, 2), "How many predictions it combines. 2 is Wan's."),
            ],
        )

    @classmethod
    def execute(cls, order: int = 2, on_mismatch: str = "error") -> io.NodeOutput:
        solver = FlowDPMpp(order, process=None)
        return io.NodeOutput(make_sampler(SolverRun(solver, on_mismatch)))


def churn_inputs() -> list[io.Input]:
    """Return the inputs of the noise that is raised before a step, and where it acts."""
    return [
        float_input(
            "s_churn",
            0.0,
            (0.0, 100.0),
            "0 is off. Otherwise noise is raised before each step by this over the number of steps.",
            step=0.1,
            advanced=True,
        ),
        float_input(
            "s_tmin",
            0.0,
            (0.0, 1000.0),
            "s_churn acts only where sigma is at least this.",
            step=0.001,
            round=False,
            advanced=True,
        ),
        float_input(
            "s_tmax",
            1000.0,
            (0.0, 1000.0),
            "s_churn acts only where sigma is at most this.",
            step=0.001,
            round=False,
            advanced=True,
        ),
    ]


class WanLiteSolverDDIM(Node):
    """DDIM as SAMPLER, with DDPM's noise and churn as options."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_solver_schema(
            node_id="WanLiteSolverDDIM",
            display_name="Wan Lite Solver DDIM",
            description="The true DDIM (ComfyUI's is Euler), as the training preview of the students runs it. Give it "
            "WanLiteDDIMSchedule. On a flow model it is Euler's method.",
            search_aliases=["ddim", "ddpm", "ancestral", "eta"],
            inputs=[
                float_input(
                    "eta",
                    0.0,
                    (0.0, 1.0),
                    "Share of fresh noise in each step: 0 none (training), 1 as much as DDPM.",
                    step=0.01,
                ),
                float_input(
                    "clip_x0",
                    0.0,
                    (0.0, 100.0),
                    "0 is off. Otherwise the predicted latent is clamped to plus and minus this.",
                    step=0.1,
                    advanced=True,
                ),
                float_input(
                    "s_noise",
                    1.0,
                    (0.0, 10.0),
                    "Factor on the noise that eta and s_churn add.",
                    step=0.01,
                    advanced=True,
                ),
                *churn_inputs(),
            ],
        )

    @classmethod
    def execute(
        cls,
        eta: float = 0.0,
        clip_x0: float = 0.0,
        s_noise: float = 1.0,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = 1000.0,
        on_mismatch: str = "error",
    ) -> io.NodeOutput:
        churn = Churn(s_churn, s_tmin, s_tmax) if s_churn > 0 else None
        solver = DDIM(eta, clip_x0 or None, s_noise, churn)
        return io.NodeOutput(make_sampler(SolverRun(solver, on_mismatch)))


NODES = [WanLiteSolverFlowUniPC, WanLiteSolverFlowDPMpp, WanLiteSolverDDIM]
