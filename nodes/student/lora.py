"""A LoRA as core loads it, with the contract that it brings."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.checks import mismatch_input, report_problems
from ..host.few_step.lora import apply_lora, describe_lora
from ..host.folders import find_model, fingerprint, list_files
from ..host.progress import show_text
from ..host.schema import CATEGORY, Node, choice_input, float_input, make_schema

KIND = "loras"


class WanLiteLoadLoRA(Node):
    """MODEL and LoRA -> MODEL that carries the LoRA's contract."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteLoadLoRA",
            display_name="Wan Lite Load LoRA",
            category=f"{CATEGORY}/student",
            description="Core's LoRA loader, and the MODEL also brings along how that LoRA wants to be sampled, from "
            "its header or its name. A LoRA that does not fit the network, a second few-step LoRA and a LoRA on the "
            "wrong expert are errors with the reason.",
            search_aliases=["lora loader", "lightx2v", "lightning lora", "few step lora", "apply lora"],
            inputs=[
                io.Model.Input("model", tooltip="The model that the LoRA was made for; of two experts, the same one."),
                choice_input("lora_name", list_files(KIND), "From models/loras."),
                float_input(
                    "strength",
                    1.0,
                    (-100.0, 100.0),
                    "A few-step LoRA was trained at 1; 0 leaves it out, with its contract.",
                    step=0.01,
                ),
                mismatch_input(),
            ],
            outputs=[io.Model.Output(tooltip="For Wan Lite Contract Sampling, Wan Lite Experts Guider or any node.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_name: str, strength: float = 1.0, on_mismatch: str = "error") -> str:
        return f"{fingerprint(find_model(KIND, lora_name, 'lora_name'))} {strength} {on_mismatch}"

    @classmethod
    def execute(cls, model: Any, lora_name: str, strength: float = 1.0, on_mismatch: str = "error") -> io.NodeOutput:
        applied = apply_lora(model, find_model(KIND, lora_name, "lora_name"), strength, on_mismatch)
        show_text(
            cls.hidden, describe_lora(applied, lora_name) if strength else f"{lora_name} is left out (strength 0)."
        )
        report_problems(applied.problems, on_mismatch)
        return io.NodeOutput(applied.model)


NODES = [WanLiteLoadLoRA]
