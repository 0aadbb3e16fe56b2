"""A sampling contract turned into the three things that core's samplers take: MODEL, SAMPLER and SIGMAS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...samplers.contract import SamplingContract
from ...samplers.process import FLOW
from ...samplers.schedule import Schedule
from ..host.checks import CONTRACT_ATTACHMENT, contract_of, contract_problems, mismatch_input, settle, shift_problem
from ..host.metadata import record_contract
from ..host.model_sampling import with_sampling
from ..host.schema import ADVANCED, CATEGORY, schema
from ..host.student_model import native_sampling
from ..student.loader import Contract
from .schedules import ddim_sigmas, denoise_input, flow_sigmas
from .solvers import sampler_of

FROM_CONTRACT = 0  # an override of 0 leaves the contract's own value


def overridden(contract: SamplingContract, steps: int, shift: float) -> SamplingContract:
    """The contract with the user's steps and shift, where they are not 0."""
    return replace(contract, steps=steps or contract.steps, shift=shift or contract.shift)


def sigmas_of(schedule: Schedule) -> Tensor:
    """A contract's schedule as SIGMAS of the process that :func:`contracted` gives the MODEL."""
    return flow_sigmas(schedule) if schedule.process is FLOW else ddim_sigmas(schedule)


def contracted(model: Any, contract: SamplingContract) -> Any:
    """A clone of ``model`` that reads its output as the contract says, is fed training's timesteps and carries it."""
    patched = with_sampling(model, native_sampling(contract))
    patched.set_attachments(CONTRACT_ATTACHMENT, contract)
    return patched


class WanLiteContractSampling(io.ComfyNode):
    """MODEL and contract -> MODEL, SAMPLER, SIGMAS that agree with one another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteContractSampling",
            display_name="Wan Lite Contract Sampling",
            category=f"{CATEGORY}/sampling",
            description="Sets up core's SamplerCustomAdvanced as the checkpoint's sampling contract says: how the "
            "output is read, the solver, the noise levels. The contract that was used is written into the picture.",
            search_aliases=["sampling contract", "prediction type", "model sampling", "reproduce training"],
            inputs=[
                io.Model.Input("model", tooltip="The student (or another model that the contract is meant for)."),
                Contract.Input(
                    "contract", optional=True, tooltip="From the loader or Wan Lite Make Contract. Empty: the MODEL's "
                    "own."
                ),
                io.Int.Input(
                    "steps", default=FROM_CONTRACT, min=0, max=1000, tooltip="0 takes the contract's number of steps."
                ),
                io.Float.Input(
                    "shift", default=float(FROM_CONTRACT), min=0.0, max=100.0, step=0.01, round=0.001, **ADVANCED,
                    tooltip="0 takes the contract's shift. Another value replaces it, once, here.",
                ),
                denoise_input(),
                mismatch_input(),
            ],
            outputs=[
                io.Model.Output(tooltip="Reads its output as the contract says; for the guider."),
                io.Sampler.Output(tooltip="The contract's solver."),
                io.Sigmas.Output(tooltip="The contract's noise levels."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: Any, contract: SamplingContract | None = None, steps: int = FROM_CONTRACT,
        shift: float = FROM_CONTRACT, denoise: float = 1.0, on_mismatch: str = "error",
    ) -> io.NodeOutput:  # fmt: skip
        carried = contract_of(model)
        declared = required(contract or carried)
        used = overridden(declared, steps, shift)
        # an assumed contract gives way to one that somebody connects
        known = None if carried is None or carried.source == "assumed" else carried
        settle([shift_problem(model, used.shift), *contract_problems(known, declared)], on_mismatch)
        record_contract(cls.hidden, used)
        sigmas = sigmas_of(used.schedule(denoise=denoise))
        return io.NodeOutput(contracted(model, used), sampler_of(used.make_solver(), on_mismatch), sigmas)


def required(contract: SamplingContract | None) -> SamplingContract:
    """The contract, or a sentence that says where to get one.

    Raises: ValueError where there is none.
    """
    if contract is None:
        raise ValueError(
            "contract: nothing is connected and this MODEL carries none; connect the SAMPLING_CONTRACT of "
            "WanLiteStudentLoader or of WanLiteMakeContract."
        )
    return contract


NODES = [WanLiteContractSampling]
