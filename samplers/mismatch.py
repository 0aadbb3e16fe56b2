"""Where a sampling differs from its contract or cannot give an image, in sentences.

Each check returns a sentence with both values and the remedy, or None where all is well; what becomes of the sentences
is said in ``on_mismatch``.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from ..training_rules import TRAIN_TIMESTEPS, is_high_noise
from .contract import SamplingContract
from .formatting import format_timesteps
from .process import FLOW
from .schedule import Schedule

__all__ = [
    "Mismatch",
    "check_experts",
    "check_fed",
    "check_few_steps",
    "check_leftover",
    "check_role",
    "check_strength",
    "compare",
    "drop_assumed",
    "format_assumed",
    "list_changes",
    "make_mismatch",
    "mark_changes",
]

log = logging.getLogger(__name__)

FEW_STEPS = 8  # a model distilled to this many steps or fewer knows those timesteps only
SAME_SIGMA = 2e-3  # as far as a host's schedule of the same steps may lie from training's
_SAME_TIMESTEP = 1e-3


def drop_assumed(contract: SamplingContract, mismatches: list[Mismatch]) -> list[Mismatch]:
    """Return the mismatches that count: what the user only assumed he may change, with a line in the log.

    Args:
        contract: What was compared with.
        mismatches: What differs from it.
    """
    if contract.source != "assumed":
        return mismatches
    if mismatches:
        log.warning("Wan Lite: %s", format_assumed(mismatches))
    return []


def format_assumed(mismatches: list[Mismatch]) -> str:
    """Return what differs from a contract that was only assumed, as a sentence.

    Args:
        mismatches: What differs.
    """
    changes = [f"{one.field} {one.requested} instead of {one.declared}" for one in mismatches]
    return f"the contract was only assumed, and this run has {', '.join(changes).removesuffix('.')}."


class Mismatch(NamedTuple):
    """One field in which a sampling differs from the contract; ``str()`` is the sentence with the remedy.

    Attributes:
        field: Of the contract.
        declared: What the contract says.
        requested: What is about to be done.
        remedy: What to do about it.
        sentence: In place of the usual one.
        is_fatal: Whether no image at all can come of it.
    """

    field: str
    declared: object
    requested: object
    remedy: str
    sentence: str = ""
    is_fatal: bool = False

    def __str__(self) -> str:
        return self.sentence or (
            f"{self.field}: the checkpoint's contract says {self.declared}, but {self.requested} was asked for. "
            f"{self.remedy}"
        )


_REMEDIES = {
    "solver": "Use the {0} sampler, or stamp the checkpoint with another contract.",
    "prediction": "Read the output as {0} ({process}), or stamp the checkpoint with another contract.",
    "shift": "Set shift to {0}, and take out any other node that shifts.",
    "timesteps": "Sample at the timesteps of training: WanLiteContractSampling does, and no other number of steps.",
    "num_train_timesteps": "Sample with timesteps out of {0}.",
    "timestep_cast": "Feed the timesteps as {0}.",
    "cfg": "Set cfg to {0:g}, as in training.",
    "boundary_step": "Change from the high- to the low-noise expert before step {0} (counted from 0).",
    "role": "Put this file in the place of the {0}-noise expert.",
    "lora_strength": "Apply the LoRA at strength {0}.",
    "frames": "Sample {0} frames.",
    "causal": "Sample in blocks of {0.block} latent frames, with context timestep {0.context_timestep:g}.",
    "vae": "Load the {0} VAE.",
    "text_pool": "Pool the text as {0}.",
    "text_length": "Pad the text to {0} tokens before it is averaged.",
    "output_projection": "Load the checkpoint together with the output_proj that its contract speaks of.",
    "latent": "Sample at the size of training (channels x height x width), as WanLiteEmptyLatent does with the MODEL.",
}
_IF_BOTH_SAY = ("role", "lora_strength", "frames", "causal", "text_length", "latent", "boundary_step")


def compare(contract: SamplingContract, requested: SamplingContract) -> list[Mismatch]:
    """Return the differences that change what the checkpoint samples from what training meant; empty when none.

    Of a student of free choice, the steps are the user's and not compared. One that was distilled to sigmas of its own
    (``has_fixed_sigmas``) knows only those. What only one of the two says is not compared. One of the contract's
    alternatives will do as well; if none fits, the differences from the nearest are returned.

    Args:
        contract: The checkpoint's.
        requested: How it is about to be sampled.
    """
    found = [_compare_one(one, requested) for one in (contract, *contract.alternatives)]
    return min(found, key=len)


def _compare_one(contract: SamplingContract, requested: SamplingContract) -> list[Mismatch]:
    found: list[Mismatch] = []
    for name in _REMEDIES:
        if name == "boundary_step" and any(mismatch.field == "timesteps" for mismatch in found):
            continue  # the split of other timesteps says nothing
        declared, asked = _get_compared(contract, name), _get_compared(requested, name)
        if declared != asked and not _is_left_open(name, declared, asked, contract):
            found.append(make_mismatch(contract, name, declared, asked))
    return found


def make_mismatch(contract: SamplingContract, name: str, declared: object, asked: object) -> Mismatch:
    """Return the mismatch of one field, with its remedy.

    Args:
        contract: The checkpoint's.
        name: Of the field.
        declared: What the contract says.
        asked: What is about to be done.
    """
    remedy = _REMEDIES[name].format(declared, process=contract.process.label)
    return Mismatch(name, declared, asked, remedy)


def _get_compared(contract: SamplingContract, name: str) -> Any:
    """Return what two contracts are compared by under a name of the remedies."""
    if name == "latent":
        return contract.latent and "x".join(map(str, contract.latent))
    if name == "timesteps":
        return format_timesteps(contract.schedule())
    if name == "boundary_step" and contract.boundary is not None:
        fed = contract.schedule().timesteps
        return None if fed is None else sum(is_high_noise(t, contract.boundary) for t in fed.tolist())
    return getattr(contract, name)


def _is_left_open(name: str, declared: Any, asked: Any, contract: SamplingContract) -> bool:
    """Return whether a contract leaves a difference to the user, or only one of the two speaks of it."""
    if name in _IF_BOTH_SAY and (declared is None or asked is None or "both" in (declared, asked)):
        return True
    if name == "shift":
        return contract.has_fixed_sigmas or math.isclose(declared, asked, rel_tol=1e-6)
    return name in ("timesteps", "boundary_step") and not contract.has_fixed_sigmas


# Records -------------------------------------------------------------------------------------------------------------


def list_changes(contract: SamplingContract | None, used: SamplingContract) -> dict[str, dict[str, Any]]:
    """Return what a run changed of the checkpoint's contract, by field: ``{"contract": ..., "used": ...}``.

    Args:
        contract: The checkpoint's, with its alternatives, of which the nearest counts; None has nothing to change.
        used: What was sampled with.
    """
    if contract is None:
        return {}
    told = used.to_fields()
    found = [_list_differences(one.to_fields(), told) for one in (contract, *contract.alternatives)]
    return min(found, key=len)


def _list_differences(declared: dict[str, Any], used: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = [name for name in {**declared, **used} if name not in ("source", "alternatives")]
    return {
        name: {"contract": declared.get(name), "used": used.get(name)}
        for name in names
        if declared.get(name) != used.get(name)
    }


def mark_changes(contract: SamplingContract | None, used: SamplingContract) -> SamplingContract:
    """Return what was sampled with, as a record of it: "declared" and the like only where nothing was changed.

    Args:
        contract: The checkpoint's, or None.
        used: What was sampled with.
    """
    return replace(used, source="assumed") if list_changes(contract, used) else used


def check_experts(high: SamplingContract | None, low: SamplingContract | None) -> str | None:
    """Find two experts in each other's place, or two that were not trained as a pair.

    Args:
        high: Of the model in the place of the high-noise expert, or None where nothing is known.
        low: Of the model in the place of the low-noise expert.
    """
    if high is None or low is None:
        return None
    if high.role == "low" or low.role == "high":
        return (
            f"The model in the high-noise place has the role {high.role!r} and the one in the low-noise place "
            f"{low.role!r}, so they are swapped; exchange the two."
        )
    ours, theirs = format_timesteps(high.schedule()), format_timesteps(low.schedule())
    if (high.has_fixed_sigmas or low.has_fixed_sigmas) and ours != theirs:
        return (
            f"The high-noise expert was trained at timesteps {ours}, the low-noise one at {theirs}, so they are not a "
            "pair; use two files of one release."
        )
    return None


def check_role(role: str | None, place: str | None, name: str) -> str | None:
    """Find a file of one expert in the other's place.

    Args:
        role: Of the file: "high", "low", "both" or None where nothing says it.
        place: Which expert it is put on, in the same words.
        name: Of the file.
    """
    if {role, place} != {"high", "low"}:
        return None
    return (
        f"{name}: is of the {role}-noise expert, but this MODEL is the {place}-noise expert, so the two are swapped. "
        f"Put it on the {role}-noise expert."
    )


def check_strength(contract: SamplingContract | None, strength: float) -> str | None:
    """Find a LoRA at another strength than it was trained at.

    Args:
        contract: Of the LoRA, or None.
        strength: At which it is applied.
    """
    trained = None if contract is None else contract.lora_strength
    if trained is None or math.isclose(trained, strength, rel_tol=1e-6):
        return None
    return (
        f"lora_strength: the LoRA was trained at strength {trained:g}, but {strength:g} was asked for. Apply it at "
        f"{trained:g}, or set on_mismatch to warn to try another."
    )


def check_leftover(sigmas: Tensor, solver: str, order: int) -> str | None:
    """Find sigmas that stop above 0: the latent is still noisy, and a solver's history is lost there.

    Args:
        sigmas: (n + 1,), falling.
        solver: Its name.
        order: How many predictions it combines.
    """
    last = float(sigmas[-1])
    if last == 0.0:
        return None
    remedy = "Feed all steps, or set on_mismatch to ignore here if a second sampler continues from this latent"
    if order > 1:
        remedy += (
            f"; {solver} of order {order} then starts anew without its history, so the result is not that of one run "
            "(DDIM, or order 1, continues exactly)"
        )
    return f"SIGMAS end at {last:.4g} instead of 0, so the latent keeps its noise. {remedy}."


def check_few_steps(contract: SamplingContract | None, sigmas: Tensor) -> Mismatch | None:
    """Find sigmas that a flow model distilled to a few steps was never trained on.

    Args:
        contract: The model's, or None.
        sigmas: (n + 1,) of the flow process, falling.
    """
    if contract is None or contract.process != FLOW or not (contract.has_fixed_sigmas or contract.steps <= FEW_STEPS):
        return None
    trained = contract.schedule().sigmas[:-1]
    given = sigmas[:-1].cpu().double()
    distance = (given[:, None] - trained[None, :]).abs().min(dim=1).values.max()
    if float(distance) <= SAME_SIGMA:
        return None
    remedy = "Use WanLiteContractSampling."
    if not contract.has_fixed_sigmas:
        remedy = (
            f"Use WanLiteContractSampling, or WanLiteFlowSchedule with steps {contract.steps} and shift "
            f"{contract.shift:g}."
        )
    declared, asked = _format_sigmas(trained), _format_sigmas(given)
    sentence = (
        f"This MODEL was distilled to {contract.steps} steps at timesteps {declared}, but the SIGMAS visit {asked}. "
        f"{remedy}"
    )
    return Mismatch("timesteps", declared, asked, remedy, sentence)


def check_fed(schedule: Schedule, fed: Tensor) -> str | None:
    """Find a network that is fed other timesteps at a schedule's levels than training fed it.

    Args:
        schedule: Of training.
        fed: (n,) what the network is about to be fed at its n levels.
    """
    trained = [schedule.timestep_at(sigma) for sigma in schedule.sigma_values[:-1]]
    if all(abs(own - float(other)) <= _SAME_TIMESTEP for own, other in zip(trained, fed.tolist(), strict=True)):
        return None
    shown = ", ".join(f"{timestep:.6g}" for timestep in fed.tolist())
    return (
        f"These levels were trained with timesteps {format_timesteps(schedule)}, which SIGMAS cannot carry, and the "
        f"network is fed [{shown}]. Use WanLiteContractSampling, which makes MODEL and SIGMAS together, or give this "
        "node and the guider the MODEL that comes out of it."
    )


def _format_sigmas(sigmas: Tensor) -> str:
    """Flow sigmas as timesteps, at most eight of them."""
    shown = [f"{sigma * TRAIN_TIMESTEPS:.4g}" for sigma in sigmas.tolist()[:8]]
    return "[" + ", ".join(shown) + (", ...]" if len(sigmas) > 8 else "]")
