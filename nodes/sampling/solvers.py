"""The solvers as SAMPLER, for core's SamplerCustomAdvanced and every MODEL of the host."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...samplers.solvers import DDIM, Churn, FlowDPMpp, FlowEuler, FlowUniPC, Renoise
from ..host.checks import mismatch_input
from ..host.schema import CATEGORY, SEEDS, Node, choice_input, float_input, int_input, make_schema
from ..host.solver_adapter import SolverRun, make_sampler

RUN_SEED = 0  # a seed of 0 takes the seed of the run


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


class WanLiteSolverFlowEuler(Node):
    """Euler's method in the flow process as SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteSolverFlowEuler",
            display_name="Wan Lite Solver Flow Euler",
            category=f"{CATEGORY}/solvers",
            description="Euler's method on the velocity, without fresh noise: the update of Wan2.2-Lightning, "
            "Qwen-Image-Lightning and LightX2V's present programs. Give it Wan Lite Few-Step Schedule, or let Wan "
            "Lite Contract Sampling choose both.",
            search_aliases=["euler", "flow match euler", "lightning", "lightx2v", "few steps"],
            inputs=[mismatch_input()],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, on_mismatch: str = "error") -> io.NodeOutput:
        return io.NodeOutput(make_sampler(SolverRun(FlowEuler(), on_mismatch)))


class WanLiteSolverRenoise(Node):
    """Stochastic consistency sampling as SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteSolverRenoise",
            display_name="Wan Lite Solver Renoise",
            category=f"{CATEGORY}/solvers",
            description="Predicts the clean latent and noises it anew to the next level: the update of students "
            "distilled by distribution matching (LightX2V Wan 2.1, Self-Forcing, CausVid, FastWan, rCM), which core "
            "calls lcm. Here item i of a batch has its own noise, and two stages of one run share none.",
            search_aliases=["lcm", "dmd", "consistency", "self forcing", "lightx2v", "few steps"],
            inputs=[
                int_input(
                    "seed",
                    RUN_SEED,
                    (RUN_SEED, SEEDS - 1),
                    "Of the fresh noise; 0 takes the seed of the run, from its NOISE.",
                    control_after_generate=False,  # the page would draw another one after each run
                ),
                mismatch_input(),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, seed: int = RUN_SEED, on_mismatch: str = "error") -> io.NodeOutput:
        own = None if seed == RUN_SEED else seed
        return io.NodeOutput(make_sampler(SolverRun(Renoise(), on_mismatch, seed=own)))


NODES = [
    WanLiteSolverFlowUniPC,
    WanLiteSolverFlowDPMpp,
    WanLiteSolverDDIM,
    WanLiteSolverFlowEuler,
    WanLiteSolverRenoise,
]
