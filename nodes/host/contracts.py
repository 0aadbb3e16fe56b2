"""The contract of a MODEL: found in what it carries, its files' headers and their names, and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import comfy.samplers
import folder_paths

from ...check.graph.graph import WorkflowError
from ...check.graph.read import read_graph
from ...check.trace.follow import Follower
from ...check.trace.models import ModelTracer
from ...models.known_students import KnownStudents, load_known_students
from ...models.known_students.find import FoundContract, find_contract
from ...samplers.contract import SamplingContract
from .checks import get_contract
from .solver_adapter import SolverRun, make_sampler

USER_FILE = "known_students.json"


def find_model_contract(model: Any, prompt: Mapping[str, Any] | None, node_id: Any) -> FoundContract:
    """Return the contract of the MODEL that reaches a node.

    In this order: the one that the MODEL carries; the headers of checkpoint and LoRA; sidecars; the files' names. A
    contract that was only assumed gives way to all of them.

    Args:
        model: The MODEL.
        prompt: The graph that runs, in which the LoRA loaders before the node are found.
        node_id: The node's.

    Raises:
        ContractError: A contract in a header or a sidecar cannot be read.
    """
    carried = get_contract(model)
    if carried is not None and carried.source != "assumed":
        return FoundContract(carried, "carried by the MODEL")
    metadata = model.get_attachment("lora_metadata")
    headers = [("the last LoRA", metadata)] if isinstance(metadata, Mapping) else []
    files = [*find_lora_files(prompt, node_id), *find_checkpoint(model)]
    found = find_contract(files, headers=headers, students=load_students())
    return FoundContract(carried, "assumed") if carried and not (found.contract or found.candidates) else found


def find_checkpoint(model: Any) -> Iterator[str]:
    """Yield the path that a MODEL was loaded from, which hosts before 0.14 and some loaders do not keep."""
    loader = getattr(model, "cached_patcher_init", None)
    if isinstance(loader, tuple) and len(loader) > 1 and isinstance(loader[1], tuple) and loader[1]:
        path = loader[1][0]
        yield from [path] if isinstance(path, str) else []


def find_lora_files(prompt: Mapping[str, Any] | None, node_id: Any) -> list[str]:
    """Return the paths of the LoRA that are loaded on the way to a node's ``model``, without those of strength 0."""
    try:
        graph = read_graph(dict(prompt or {}))
    except WorkflowError:
        return []
    node = graph.nodes.get(str(node_id))
    loaded = () if node is None else ModelTracer(Follower(graph)).of_input(node).loras
    return [folder_paths.get_full_path("loras", lora.name) or lora.name for lora in loaded]


def load_students() -> KnownStudents:
    """Return the known students, with the entries of the file in the host's user folder where there is one."""
    own = Path(folder_paths.get_user_directory()) / "wan-lite" / USER_FILE
    return load_known_students(own if own.is_file() else None)


def describe_found(found: FoundContract, used: SamplingContract) -> str:
    """Return what is shown under the node: where the contract comes from, and what else would be legitimate."""
    alternatives = () if found.student is None else found.student.alternatives
    others = "".join(f" Also legitimate, as alternative {n}: {other.why}." for n, other in enumerate(alternatives, 1))
    return f"{found.origin}: {used.solver}, {used.steps} steps.{others}"


def make_contract_sampler(model: Any, contract: SamplingContract, on_mismatch: str) -> comfy.samplers.KSAMPLER:
    """Return the contract's solver as SAMPLER; core's own autoregressive one for a causal student in its network."""
    network = model.get_model_object("diffusion_model")
    if contract.causal is not None and hasattr(network, "init_kv_caches"):
        return comfy.samplers.ksampler("ar_video", {"num_frame_per_block": contract.causal.block})
    return make_sampler(SolverRun(contract.make_solver(), on_mismatch))
