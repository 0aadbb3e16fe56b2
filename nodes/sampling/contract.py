"""A sampling contract turned into the three things that core's samplers take: MODEL, SAMPLER and SIGMAS."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...pipeline.contracts import choose_alternative, override_contract
from ...samplers.contract import SamplingContract
from ..host.checks import (
    check_contract,
    check_shift,
    get_contract,
    mismatch_input,
    report_problems,
    require_contract,
)
from ..host.contracts import FoundContract, describe_found, find_model_contract, make_contract_sampler
from ..host.guard.record import RECORD_ATTACHMENT, record_contract
from ..host.model_sampling import to_sigmas
from ..host.progress import show_text
from ..host.sampling_run import apply_contract
from ..host.schema import CATEGORY, Node, float_input, int_input, make_schema
from ..student.loader import Contract
from .known import alternative_input
from .schedules import denoise_input

FROM_CONTRACT = 0  # an override of 0 leaves the contract's own value


class WanLiteContractSampling(Node):
    """MODEL and contract -> MODEL, SAMPLER, SIGMAS that agree with one another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteContractSampling",
            display_name="Wan Lite Contract Sampling",
            category=f"{CATEGORY}/sampling",
            description="Sets up core's SamplerCustomAdvanced as the checkpoint's sampling contract says: how the "
            "output is read, the solver, the noise levels. The contract that was used is written into the image.",
            search_aliases=[
                "sampling contract",
                "prediction type",
                "model sampling",
                "reproduce training",
                "lightx2v",
                "lightning",
                "few step",
                "causvid",
                "self forcing",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The student (or another model that the contract is meant for)."),
                Contract.Input(
                    "contract",
                    optional=True,
                    tooltip="From the loader or Wan Lite Make Contract. Empty: the MODEL's own; else that of the files "
                    "it was loaded from, by their headers, then by their names.",
                ),
                int_input("steps", FROM_CONTRACT, (0, 1000), "0 takes the contract's number of steps."),
                float_input(
                    "shift",
                    float(FROM_CONTRACT),
                    (0.0, 100.0),
                    "0 takes the contract's shift. Another value replaces it, once, here.",
                    step=0.01,
                    round=0.001,
                    advanced=True,
                ),
                denoise_input(),
                mismatch_input(),
                alternative_input(),
            ],
            outputs=[
                io.Model.Output(tooltip="Reads its output as the contract says; for the guider."),
                io.Sampler.Output(tooltip="The contract's solver."),
                io.Sigmas.Output(tooltip="The contract's noise levels."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        contract: SamplingContract | None = None,
        steps: int = FROM_CONTRACT,
        shift: float = float(FROM_CONTRACT),
        denoise: float = 1.0,
        on_mismatch: str = "error",
        alternative: int = 0,
    ) -> io.NodeOutput:
        found = FoundContract(contract, "connected") if contract else cls._find(model)
        declared = choose_alternative(require_contract(found), alternative)
        used = override_contract(declared, steps=steps, shift=shift)
        report_problems([check_shift(model, used.shift), *check_contract(get_contract(model), declared)], on_mismatch)
        show_text(cls.hidden, describe_found(found, used))
        sampler = make_contract_sampler(model, used, on_mismatch)
        patched = apply_contract(model, used, on_mismatch)
        patched.set_attachments(RECORD_ATTACHMENT, record_contract(cls.hidden, used, declared))
        return io.NodeOutput(patched, sampler, to_sigmas(used.schedule(denoise=denoise)))

    @classmethod
    def _find(cls, model: Any) -> FoundContract:
        return find_model_contract(model, cls.hidden.prompt, cls.hidden.unique_id)


NODES = [WanLiteContractSampling]
