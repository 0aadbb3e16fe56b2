"""The guider of Wan 2.2 A14B: two MODELs, one for high and one for low noise, under one solver."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...training_rules import TEACHER_BOUNDARIES
from ..host.checks import mismatch_input
from ..host.experts_guider import Guidance, make_experts
from ..host.schema import CATEGORY, Node, float_input, make_schema
from ..host.validation.links import check_conditioning


def cfg_input(name: str, default: float, which: str) -> io.Float.Input:
    """Return the guidance input of one expert."""
    return float_input(
        name,
        default,
        (0.0, 100.0),
        f"Guidance of the {which}-noise model; {default:g} is the teacher's own. 1 leaves the negative prompt out.",
        step=0.1,
        round=0.01,
    )


class WanLiteExpertsGuider(Node):
    """Two MODELs and their guidance -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteExpertsGuider",
            display_name="Wan Lite Experts Guider",
            category=f"{CATEGORY}/sampling",
            description="Wan 2.2 A14B as its own code samples it: one solver run over both models. Use it in "
            "SamplerCustomAdvanced with WanLiteSolverFlowUniPC and WanLiteFlowSchedule (40 steps, shift 12); for a "
            "single image give a latent of length 1.",
            search_aliases=["moe", "wan 2.2 14b", "high noise low noise", "two stage", "boundary"],
            inputs=[
                io.Model.Input("model_high_noise", tooltip="Wan 2.2 T2V A14B high noise."),
                io.Model.Input("model_low_noise", tooltip="Wan 2.2 T2V A14B low noise."),
                io.Conditioning.Input("positive", tooltip="The prompt."),
                float_input(
                    "boundary",
                    TEACHER_BOUNDARIES["t2v"],
                    (0.0, 1.0),
                    "The high-noise model runs while the truncated timestep is at least this times 1000. "
                    f"{TEACHER_BOUNDARIES['t2v']} for text to video, {TEACHER_BOUNDARIES['i2v']} for image to video.",
                    step=0.001,
                    round=0.001,
                ),
                cfg_input("cfg_high_noise", 4.0, "high"),
                cfg_input("cfg_low_noise", 3.0, "low"),
                mismatch_input(),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What to avoid; the teacher has a long text of its own. Not needed where both cfg are 1.",
                ),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model_high_noise: Any,
        model_low_noise: Any,
        positive: list[Any],
        boundary: float = TEACHER_BOUNDARIES["t2v"],
        cfg_high_noise: float = 4.0,
        cfg_low_noise: float = 3.0,
        on_mismatch: str = "error",
        negative: list[Any] | None = None,
    ) -> io.NodeOutput:
        check_conditioning(positive, "positive")
        if negative is not None:
            check_conditioning(negative, "negative")
        guidance = Guidance(boundary, cfg_high_noise, cfg_low_noise)
        guider = make_experts(model_high_noise, model_low_noise, guidance, on_mismatch)
        guider.set_prompts(positive, negative)
        return io.NodeOutput(guider)


NODES = [WanLiteExpertsGuider]
