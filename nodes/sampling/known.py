"""The contract of a known few-step student as a node, and its schedule alone as SIGMAS."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...models.known_students import KnownStudent, load_built_in_students
from ...pipeline.contracts import choose_alternative, parse_steps
from ...samplers.contract import SamplingContract
from ...samplers.few_step import few_step_schedule
from ...samplers.formatting import format_contract, format_timesteps
from ...samplers.mismatch import check_fed
from ...samplers.process import FLOW
from ...samplers.schedule import Schedule
from ..host.checks import check_process, mismatch_input, report_problems
from ..host.contracts import load_students
from ..host.model_sampling import find_fed_timesteps, to_sigmas
from ..host.progress import show_text
from ..host.schema import CATEGORY, Node, choice_input, int_input, make_schema, switch_input, text_input
from ..student.loader import Contract
from .schedules import shift_input

log = logging.getLogger(__name__)

BY_HAND = "by hand"
MOST_ALTERNATIVES = 8
ROLES = ("any", "high", "low")


def list_families() -> list[str]:
    """Return the ids of the known students that a contract can describe, as the data file orders them.

    A user's own file that cannot be read takes nothing away from the node: its sentence is logged here, and raised
    where a contract is asked for.
    """
    try:
        known = load_students()
    except ValueError as error:
        log.warning("Wan Lite: %s", error)
        known = load_built_in_students()
    return [name for name, student in known.students.items() if student.fields is not None]


def find_student(family: str) -> KnownStudent:
    """Return a known student by its id.

    Raises:
        ValueError: There is none, or no contract can say how it is sampled.
    """
    if family not in list_families():
        raise ValueError(f"family is {family!r}; known are {', '.join(list_families())}.")
    return load_students().students[family]


def alternative_input() -> io.Int.Input:
    """Return the input that chooses among the contracts that are legitimate for one file."""
    return int_input(
        "alternative",
        0,
        (0, MOST_ALTERNATIVES),
        "Where two ways of sampling are legitimate (LightX2V Wan 2.1: fresh noise or Euler): 0 takes the first, 1 the "
        "other. The text under the node names both.",
    )


class WanLiteKnownContract(Node):
    """The name of a few-step student -> its contract."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteKnownContract",
            display_name="Wan Lite Known Contract",
            category=f"{CATEGORY}/sampling",
            description="How a published few-step student was trained to be sampled: levels, timesteps, update, "
            "guidance and experts, each with its source. For files whose names say nothing; others are found without "
            "this node.",
            search_aliases=["lightx2v", "lightning", "self forcing", "fastwan", "rcm", "causvid", "which sampler"],
            inputs=[
                choice_input("family", list_families(), "The student. `wan-lite known` prints what is known of each."),
                alternative_input(),
                choice_input(
                    "role",
                    ROLES,
                    "Of two experts: which one this file is. The guider then refuses experts in each other's place.",
                    default="any",
                    advanced=True,
                ),
            ],
            outputs=[Contract.Output(display_name="SAMPLING_CONTRACT", tooltip="For Wan Lite Contract Sampling.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, family: str, alternative: int = 0, role: str = "any") -> io.NodeOutput:
        student = find_student(family)
        declared = student.contract(None if role == "any" else role)
        assert declared is not None
        contract = choose_alternative(declared, alternative)
        show_text(cls.hidden, describe_choice(student, contract))
        return io.NodeOutput(contract)


def describe_choice(student: KnownStudent, contract: SamplingContract) -> str:
    """Return what is shown under the node: the contract, its source, and where no network here can run it."""
    source = f" Source: {student.sources[0]}." if student.sources else ""
    return f"{student.title}: {format_contract(contract)}.{source} {student.cannot_run}".rstrip()


class WanLiteFewStepSchedule(Node):
    """A known student, or its list of denoising steps -> SIGMAS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteFewStepSchedule",
            display_name="Wan Lite Few-Step Schedule",
            category=f"{CATEGORY}/schedules",
            description="The very levels that a few-step student was trained on, as SIGMAS. SIGMAS cannot carry the "
            "timesteps that are fed at them: where a student wants integers (757) or bfloat16 (988), use Wan Lite "
            "Contract Sampling, or connect its MODEL here and to the guider.",
            search_aliases=["denoising_step_list", "dmd", "lightx2v", "fastwan", "manual sigmas", "few steps"],
            inputs=[
                choice_input(
                    "family",
                    [BY_HAND, *list_families()],
                    "A known student; `by hand` takes the three inputs below.",
                    default=BY_HAND,
                ),
                text_input(
                    "denoising_steps",
                    "1000, 750, 500, 250",
                    "By hand: whole numbers from 1000 down, as the student's configuration lists them.",
                ),
                shift_input(5.0),
                switch_input(
                    "warp",
                    True,
                    "By hand: whether the shift moves the denoising steps. Off, they are the fed timesteps themselves "
                    "and the shift is that of the table in which their levels are looked up.",
                ),
                io.Model.Input("model", optional=True, tooltip="To check what its network is fed at these levels."),
                mismatch_input(default="warn"),
            ],
            outputs=[io.Sigmas.Output(tooltip="The trained levels, then 0.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        family: str = BY_HAND,
        denoising_steps: str = "1000, 750, 500, 250",
        shift: float = 5.0,
        warp: bool = True,
        on_mismatch: str = "warn",
        model: Any = None,
    ) -> io.NodeOutput:
        schedule = make_few_step_schedule(family, denoising_steps, shift, warp)
        sigmas = to_sigmas(schedule)
        show_text(cls.hidden, f"{schedule.steps} steps at timesteps {format_timesteps(schedule)}")
        report_problems(check_schedule_of_model(schedule, model, sigmas), on_mismatch)
        return io.NodeOutput(sigmas)


def check_schedule_of_model(schedule: Schedule, model: Any, sigmas: Tensor) -> list[str | None]:
    """Find a MODEL of another process, or one whose network is not fed what training fed; without one, core's own."""
    process = None if model is None else check_process(model, FLOW, "WanLiteFewStepSchedule")
    return [process or check_fed(schedule, find_fed_timesteps(model, sigmas[:-1]))]


def make_few_step_schedule(family: str, denoising_steps: str, shift: float, warp: bool) -> Schedule:
    """Return a known student's schedule, or that of a list of denoising steps.

    Raises:
        ValueError: The family is not known, or the list is not one.
    """
    if family == BY_HAND:
        cast = "float" if warp else "table"
        return few_step_schedule(parse_steps(denoising_steps), shift=shift, warp=warp, timestep_cast=cast)
    contract = find_student(family).contract()
    assert contract is not None
    return contract.schedule()


NODES = [WanLiteKnownContract, WanLiteFewStepSchedule]
