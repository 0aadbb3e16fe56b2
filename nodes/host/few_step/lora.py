"""A LoRA on a MODEL by core's own code, what of it fits the network, and the contract that it brings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
from torch import Tensor

from ....models.known_students import expert_role
from ....models.known_students.find import FoundContract, find_contract, sample_alike
from ....samplers.contract import SamplingContract
from ....samplers.formatting import format_contract
from ....samplers.mismatch import check_role, check_strength
from ..checks import get_contract
from ..contracts import find_checkpoint, load_students
from ..guard.guard import attach_contract

_DOWN = re.compile(
    r"\.(lora_down|lora_A|lora\.down|lora_linear_layer\.down)(\.default)?(\.weight)?$|_lora\.down\.weight$"
)


@dataclass(frozen=True)
class AppliedLoRA:
    """A MODEL with a LoRA on it, and what was found out on the way.

    Attributes:
        model: The MODEL as core's loader makes it, with the LoRA's contract where it has one.
        found: The LoRA's own contract and where it comes from.
        problems: Sentences about what cannot be right.
    """

    model: Any
    found: FoundContract
    problems: tuple[str, ...]


def apply_lora(model: Any, path: Path, strength: float, on_mismatch: str = "error") -> AppliedLoRA:
    """Put a LoRA on a MODEL as core does, and give the MODEL its contract; at strength 0 nothing is done.

    Args:
        model: The MODEL.
        path: Of the LoRA's file.
        strength: Of the LoRA.
        on_mismatch: What the guard of its contract does where a sampler of core's deviates.

    Raises:
        ContractError: The contract in its header cannot be read.
    """
    if strength == 0:
        return AppliedLoRA(model, FoundContract(), ())
    weights, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    count = sum(bool(_DOWN.search(name)) for name in weights)
    patched, _ = comfy.sd.load_lora_for_models(model, None, weights, strength, 0.0)
    if metadata:
        patched.set_attachments("lora_metadata", metadata)
    found = find_contract([path], students=load_students())
    fits = check_fit(model, patched, path.name, count)
    problems = [fits, *check_beside(model, found, path, strength)]
    if found.contract is not None:
        attach_contract(patched, found.contract, on_mismatch)
    return AppliedLoRA(patched, found, tuple(problem for problem in problems if problem))


def check_fit(model: Any, patched: Any, name: str, count: int) -> str | None:
    """Find a LoRA of another architecture: none of its pairs has a place in the network, or one is of another size.

    Args:
        model: The MODEL before.
        patched: The MODEL with it.
        name: Of the file.
        count: How many pairs the file has; 0 where it is of a kind without pairs.
    """
    new = {key: found[-1] for key, found in patched.patches.items() if len(found) > len(model.patches.get(key, ()))}
    network = type(model.get_model_object("diffusion_model")).__name__
    remedy = "Choose a LoRA for this model, or the model that this LoRA was made for."
    if not new:
        return f"{name}: none of its {count or 'weights'} fit this network ({network}), so nothing is applied. {remedy}"
    for key, patch in new.items():
        own = comfy.utils.get_attr(model.model, key)
        sizes = find_wrong_size(patch, own)
        if sizes is not None:
            return f"{name}: its weight for {key} is {sizes}, this network's ({network}) {_size(own)}. {remedy}"
    return None


def find_wrong_size(patch: tuple[Any, ...], own: Tensor) -> str | None:
    """Return the size of the matrix that a LoRA's pair makes where the weight that it is for has another; else None."""
    adapter, offset = patch[1], patch[3]
    if getattr(adapter, "name", None) != "lora" or offset is not None:
        return None
    up, down, _, middle, _, reshape = (*adapter.weights, None)[:6]
    if middle is not None or reshape is not None:
        return None
    rows, columns = up.shape[0], down[0].numel()
    fits = rows == own.shape[0] and columns == own.shape[1:].numel()
    return None if fits else f"{rows}x{columns}"


def _size(weight: Tensor) -> str:
    return f"{weight.shape[0]}x{weight.shape[1:].numel()}"


def check_beside(model: Any, found: FoundContract, path: Path, strength: float) -> Iterator[str | None]:
    """Find what speaks against a LoRA on this MODEL: another LoRA's contract, the other expert, its strength."""
    contract, carried, files = found.contract, get_contract(model), list(find_checkpoint(model))
    if contract is None:
        return
    brought = carried or find_contract(files, students=load_students()).contract
    yield check_second(brought, contract, path.name)
    yield check_role(contract.role or expert_role(path), expert_role(files[0]) if files else None, path.name)
    yield check_strength(contract, strength)


def check_second(carried: SamplingContract | None, contract: SamplingContract, name: str) -> str | None:
    """Find two LoRA with two contracts on one MODEL, or those of two experts.

    Args:
        carried: What the MODEL brings already, by itself or by the name of its checkpoint.
        contract: Of the LoRA.
        name: Of its file.
    """
    if carried is None or carried.source == "assumed":
        return None
    if not sample_alike(carried, contract):
        return (
            f"{name}: wants to be sampled by {format_contract(contract)}, but this MODEL already has a contract, "
            f"{format_contract(carried)}, and only one can be followed. Take one of the two LoRA out."
        )
    if {carried.role, contract.role} == {"high", "low"}:
        return (
            f"{name}: is of the {contract.role}-noise expert, but this MODEL already has the {carried.role}-noise "
            "expert's LoRA. Give each expert its own."
        )
    return None


def describe_lora(applied: AppliedLoRA, name: str) -> str:
    """Return what is shown under the node: what the MODEL now brings along, and from where."""
    found = applied.found
    if found.contract is not None:
        return f"{found.origin}: {format_contract(found.contract)}."
    if found.candidates:
        several = ", ".join(one.student.id if one.student else one.origin for one in found.candidates)
        return f"{name} may be one of {several}; choose it with WanLiteKnownContract at WanLiteContractSampling."
    if found.student is not None:
        return f"{found.student.title}: no contract says how to sample it. {found.student.cannot_run}"
    return f"{name} brings no sampling contract; the MODEL keeps its own."
