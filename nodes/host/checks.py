"""What only a MODEL of the host can tell of a sampling that cannot give an image: sentences with the remedy.

A check returns the sentence, or None where all is well; :func:`report_problems` raises, shows or drops the sentences
as the user's ``on_mismatch`` says. Nothing here changes a tensor or a MODEL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io

from ...models.known_students.find import FoundContract
from ...on_mismatch import ON_MISMATCH, raise_or_warn
from ...samplers.contract import SamplingContract
from ...samplers.mismatch import Mismatch, compare, drop_assumed, format_assumed
from ...samplers.process import FLOW, NoiseProcess
from ...samplers.schedule import infer_shift
from .model_sampling import ContractFlow, LinearEpsilon, TruncatedFlow, format_sampling, get_process
from .progress import show_sentence
from .schema import choice_input

CONTRACT_ATTACHMENT = "wan_lite.contract"
WAY_OUT = (
    "Wan Lite Contract Sampling sets all of this as the contract says; on_mismatch warn or ignore samples all the same."
)


def get_contract(model: Any) -> SamplingContract | None:
    """Return the sampling contract that a MODEL carries, or None."""
    return model.get_attachment(CONTRACT_ATTACHMENT)


def require_contract(found: FoundContract) -> SamplingContract:
    """Return the contract that was found, or say where to get one.

    Raises:
        ContractError: There are several that differ, or one that no network here can follow.
        ValueError: There is none.
    """
    if found.contract is None and not found.candidates and found.student is None:
        raise ValueError(
            "contract: nothing is connected, this MODEL carries none and the names of its files say nothing; connect "
            "the SAMPLING_CONTRACT of WanLiteStudentLoader or of WanLiteMakeContract."
        )
    return found.require()


def mismatch_input(default: str = "error") -> io.Combo.Input:
    """Return the ``on_mismatch`` input, the same on every node that checks but for its default."""
    return choice_input(
        "on_mismatch",
        ON_MISMATCH,
        "What to do when model, schedule and solver do not fit together: stop with the reason, write it "
        "to the log, or continue.",
        default=default,
        advanced=True,
    )


def report_problems(problems: Iterable[str | None], on_mismatch: str) -> None:
    """Raise, show on the running node and in the log, or drop the sentences that are not None.

    Raises:
        ContractMismatch: There are some, and ``on_mismatch`` is ``error``.
    """
    found = [problem for problem in problems if problem]
    raise_or_warn(found, on_mismatch)
    if found and on_mismatch == "warn":
        show_sentence("\n".join(found))


# Shift ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CarriedShift:
    """A shift that somebody patched into a MODEL: its rational value and what the patch calls it."""

    value: float
    label: str


def find_patched_shift(model: Any) -> CarriedShift | None:
    """Return the shift of a model-sampling patch on ``model`` (core's ModelSamplingSD3, ...Flux and the like), or None.

    The shift that an architecture has by itself (Wan 8, SD3.5 3) is not a patch: SIGMAS of our own replace it.
    """
    patch = model.object_patches.get("model_sampling")
    shift = getattr(patch, "shift", None)
    if shift is None or isinstance(patch, TruncatedFlow | ContractFlow | LinearEpsilon):
        return None
    if hasattr(patch, "multiplier"):
        return CarriedShift(float(shift), f"{float(shift):g}")
    return CarriedShift(math.exp(shift), f"{math.exp(shift):.4g} (= e^{float(shift):g})")  # Flux's is the exponent


def check_shift(model: Any, shift: float) -> str | None:
    """Find a double shift: the MODEL carries one shift and a node of ours applies another."""
    carried = find_patched_shift(model)
    if carried is None or carried.value == 1.0 or math.isclose(carried.value, shift, rel_tol=1e-3):
        return None
    product = carried.value * shift
    return (
        f"The MODEL carries shift {carried.label} from a model-sampling node, and shift {shift:g} is applied here; one "
        f"after the other they would be shift {product:g}. Remove the model-sampling node (ModelSamplingSD3, "
        f"ModelSamplingFlux) in front of this node, or set both to the same value."
    )


def check_sigmas_shift(model: Any, sigmas: torch.Tensor) -> str | None:
    """Find a double shift as a solver sees it: the shift inside the SIGMAS against the one that the MODEL carries."""
    shift = infer_shift(sigmas)
    return None if shift is None else check_shift(model, round(shift, 3))


# Process -------------------------------------------------------------------------------------------------------------


def check_process(model: Any, wanted: NoiseProcess, what: str) -> str | None:
    """Find a node made for one noise process on a MODEL of another. ``what`` is the node in words."""
    has = get_process(model.get_model_object("model_sampling"))
    if has is wanted:
        return None
    remedy = "WanLiteDDIMSampler, or WanLiteDDIMSchedule with this MODEL connected"
    if has is FLOW:
        remedy = "WanLiteFlowUniPCSampler or WanLiteFlowSchedule"
    return (
        f"{what} works in the {wanted.name} process, but this MODEL is sampled in the {has.name} process "
        f"({format_sampling(model.get_model_object('model_sampling'))}). Use {remedy}, or, for a student, load it with "
        "a contract whose prediction is the one of its training."
    )


def check_sigmas(model_sampling: Any, sigmas: torch.Tensor, from_noise: bool) -> str | None:
    """Find SIGMAS of the wrong process. ``from_noise``: the latent is empty, so the run must start at full noise."""
    first, largest = float(sigmas[0]), float(model_sampling.sigma_max)
    if get_process(model_sampling) is FLOW:
        if first <= 1.0:
            return None
        return (
            f"SIGMAS start at {first:.4g}, but this MODEL is a flow model and its sigma ends at 1. They were made for "
            "an epsilon model: use WanLiteFlowSchedule, or BasicScheduler with this MODEL."
        )
    if not from_noise or first >= 0.5 * largest:
        return None
    return (
        f"SIGMAS start at {first:.4g}, but this MODEL is an epsilon or v model whose noise starts at {largest:.4g}, "
        "and the latent is empty. They were made for a flow model, or begin in the middle: use WanLiteDDIMSchedule "
        "or BasicScheduler with this MODEL connected, or give an image as latent."
    )


# Contract ------------------------------------------------------------------------------------------------------------


def check_contract(contract: SamplingContract | None, requested: SamplingContract) -> list[str]:
    """Find where ``requested`` is not what the checkpoint's contract says, and say what to do."""
    if contract is None:
        return []
    found = [str(mismatch) for mismatch in drop_assumed(contract, compare(contract, requested))]
    return [*found, WAY_OUT] if found else []


def report_mismatches(
    contract: SamplingContract, found: list[Mismatch], on_mismatch: str, *, closing: str, is_strict: bool
) -> None:
    """Raise, show on the running node and in the log, or drop what differs from a contract.

    What the user only assumed he may change, and is told of it.

    Args:
        contract: What was compared with.
        found: What differs from it.
        on_mismatch: One of ``ON_MISMATCH``.
        closing: A sentence after those of the mismatches.
        is_strict: Whether every mismatch is an error where ``on_mismatch`` says so, or fatal ones only.

    Raises:
        ContractMismatch: It is to stop there.
    """
    counted = drop_assumed(contract, found)
    if not counted:
        show_sentence(f"Mind that {format_assumed(found)}")
        return
    stops = on_mismatch == "error" and (is_strict or any(mismatch.is_fatal for mismatch in counted))
    lines = [*map(str, counted), closing, WAY_OUT]
    report_problems(["\n".join(filter(None, lines))], "error" if stops else "warn")
