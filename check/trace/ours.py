"""This pack's own nodes: the contracts, levels and solvers that they put out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..graph.graph import Node
from ..levels.schedulers import UnknownLevels
from ..levels.sigma_nodes import LONGEST
from .follow import CannotTell, Follower, Value
from .models import LoadedFile, ModelTracer

__all__ = ["APPENDED", "OWN_SAMPLERS", "OWN_SCHEDULES", "OWN_SOLVERS", "ContractTracer", "Contracts", "contract_levels"]
__all__ += ["change_rule", "schedule_fields"]

Fields = Mapping[str, Any]


class Contracts(Protocol):
    """What is known of contracts in their JSON form, alternatives included."""

    def contract(self, file: LoadedFile) -> Fields | CannotTell | None:
        """Return the contract of a file; None where nothing is known of one."""

    def family(self, name: str) -> Fields | None:
        """Return the contract of a known student by its id."""


class NothingKnown:
    """No contract is known."""

    def contract(self, file: LoadedFile) -> None:
        """Return None."""

    def family(self, name: str) -> None:
        """Return None."""


OWN_SOLVERS = {
    "WanLiteSolverFlowUniPC": "flow_unipc",
    "WanLiteSolverFlowDPMpp": "flow_dpmpp",
    "WanLiteSolverDDIM": "wan_lite_ddim",
    "WanLiteSolverFlowEuler": "flow_euler",
    "WanLiteSolverRenoise": "renoise",
}
"""Nodes that put out a SAMPLER, and the solver that it is."""

OWN_SAMPLERS = {"WanLiteFlowUniPCSampler": "flow_unipc", "WanLiteDDIMSampler": "wan_lite_ddim"}
"""Nodes that sample with a schedule of their own, and their solver."""

BY_HAND = "by hand"
"""In place of a family: the denoising steps are typed."""

FIXED = frozenset({"denoising_steps", "levels", "sigma_max", "timesteps"})
"""Fields of a contract whose levels are those of training and no others."""

_FLOW, _DDIM = {"solver": "flow_unipc", "prediction": "velocity"}, {"solver": "ddim", "prediction": "epsilon"}
MADE_FOR = {
    "WanLiteFlowSchedule": _FLOW,
    "WanLiteFlowUniPCSampler": _FLOW,
    "WanLiteDDIMSchedule": _DDIM,
    "WanLiteDDIMSampler": _DDIM,
}
"""Nodes that make a schedule of widgets, and what of a contract is settled by the node."""

APPENDED = frozenset({"alternative"})
"""Widgets that a node did not have at first: a workflow without one means its default."""

OWN_SCHEDULES = ("WanLiteFlowSchedule", "WanLiteDDIMSchedule", "WanLiteContractSampling", "WanLiteFewStepSchedule")


@dataclass(frozen=True)
class ContractTracer:
    """Follows SAMPLING_CONTRACT links, and finds the contract that a MODEL carries."""

    follow: Follower
    models: ModelTracer
    contracts: Contracts

    def of_node(self, node: Node) -> Fields | CannotTell:
        """Return the contract that Contract Sampling works with."""
        origin = self.follow.origin(node, "contract")
        if isinstance(origin, CannotTell):
            return origin
        declared = self._find_of_model(node) if origin is None else self._find_of_maker(origin[0])
        if not isinstance(declared, CannotTell):
            declared = self._choose_alternative(node, declared)
        return declared if isinstance(declared, CannotTell) else self._apply_widgets(node, declared)

    def _find_of_maker(self, node: Node) -> Fields | CannotTell:
        if node.type == "WanLiteMakeContract":
            preset = self.follow.value(node, "preset")
            fields = None if isinstance(preset, CannotTell) else _find_preset(str(preset.value))
            return CannotTell("the preset is not known") if fields is None else self._apply_widgets(node, fields)
        if node.type == "WanLiteKnownContract":
            name = self.follow.value(node, "family")
            known = None if isinstance(name, CannotTell) else self.contracts.family(str(name.value))
            return CannotTell("the family is not known") if known is None else self._choose_alternative(node, known)
        if node.type == "WanLiteStudentLoader":
            file = self.models.of_output((node, 0)).file
            return self._find_of_files(() if file is None else (file,))
        return CannotTell(f"node {node.id} ({node.type}) makes the contract when it runs")

    def schedule_fields(self, node: Node, values: Mapping[str, Value]) -> Fields | CannotTell:
        """Return a schedule node's widgets as the fields of a contract."""
        if node.type != "WanLiteFewStepSchedule":
            return schedule_fields(node, values)
        family = str(values["family"].value)
        if family != BY_HAND:
            known = self.contracts.family(family)
            return CannotTell(f"the family {family!r} is not known") if known is None else known
        if re.search(r"\d{5}", str(values["denoising_steps"].value)):
            return CannotTell("denoising_steps holds a number above 1000")
        steps = [int(word) for word in re.findall(r"\d+", str(values["denoising_steps"].value))]
        warp, shift = bool(values["warp"].value), float(values["shift"].value)
        cast = "float" if warp else "table"
        return {"denoising_steps": steps, "shift": shift, "warp": warp, "timestep_cast": cast, "steps": len(steps)}

    def _choose_alternative(self, node: Node, fields: Fields) -> Fields | CannotTell:
        """Apply the widget that chooses one of a contract's alternatives."""
        if "alternative" not in node.inputs:
            return fields
        number = self.follow.number(node, "alternative")
        if isinstance(number, CannotTell) or not number:
            return number if isinstance(number, CannotTell) else fields
        others = fields.get("alternatives", [])
        return (
            others[int(number) - 1] if 1 <= number <= len(others) else CannotTell(f"there is no alternative {number:g}")
        )

    def _find_of_model(self, node: Node) -> Fields | CannotTell:
        return self._find_of_files(self.models.of_input(node).files)

    def _find_of_files(self, files: tuple[LoadedFile, ...]) -> Fields | CannotTell:
        for file in reversed(files):
            found = self.contracts.contract(file)
            if found is not None:
                return found
        names = " or ".join(file.name for file in files) or "the model"
        return CannotTell(f"the contract stands in {names}, which is not here")

    def _apply_widgets(self, node: Node, fields: Fields) -> Fields | CannotTell:
        """Apply widgets of which 0 keeps the contract's own value."""
        changed = dict(fields)
        for name in ("steps", "shift", "cfg"):
            if name in node.inputs:
                value = self.follow.number(node, name)
                if isinstance(value, CannotTell):
                    return value
                changed |= {name: int(value) if name == "steps" else value} if value else {}
        return changed if changed.get("steps") == fields.get("steps") else change_rule(changed)


def change_rule(fields: dict[str, Any]) -> Fields | CannotTell:
    """Return a contract whose number of steps was changed: denoising steps are spaced anew, a list has no rule."""
    steps = fields["steps"]
    if {"levels", "timesteps"} & set(fields) or not fields.get("warp", True):
        return CannotTell(f"the levels of the contract are a list, which has no rule for {steps} steps")
    if "denoising_steps" in fields and 1 <= steps <= 1000:
        fields["denoising_steps"] = [1000 - 1000 * k // steps for k in range(steps)]
    return fields


def _find_preset(name: str) -> Fields | None:
    from ...samplers.contract import PRESETS

    contract = PRESETS.get(name)
    if contract is None:
        return None
    return {"solver": contract.solver, "prediction": str(contract.prediction)} | {
        field: getattr(contract, field) for field in ("steps", "shift", "cfg", "timestep_cast", "vae")
    }


def contract_levels(fields: Fields, denoise: float) -> tuple[list[float], list[float]]:
    """Return the SIGMAS of a contract with the final 0, and the timesteps; ``denoise`` keeps the end of a longer run.

    Of levels or timesteps that are listed, and of a rule's own, it keeps the end as they are.

    Raises:
        UnknownLevels: There would be too many levels, or none.
    """
    from ..training import trained_levels

    steps = int(fields.get("steps", 20))
    if not denoise > 0:
        raise UnknownLevels(f"denoise {denoise:g} keeps no step")
    if FIXED & set(fields):
        levels, timesteps = trained_levels(fields)
        kept = max(1, int(len(levels) * min(denoise, 1.0) + 1e-9))
        return [*levels[-kept:], 0.0], timesteps[-kept:]
    if not 1 <= steps <= LONGEST or steps / denoise > LONGEST:
        raise UnknownLevels(f"{steps} steps with denoise {denoise:g} are more than {LONGEST}")
    levels, timesteps = trained_levels(fields, steps if denoise >= 1 else int(steps / denoise))
    return [*levels, 0.0], timesteps


def schedule_fields(node: Node, values: Mapping[str, Value]) -> Fields:
    """Return a schedule node's widgets as the fields of a contract."""
    made_for = values.get("made_for")
    changed = {"solver": "flow_dpmpp"} if made_for is not None and made_for.value == "FlowDPM++" else {}
    return {
        **MADE_FOR[node.type],
        **changed,
        "steps": int(values["steps"].value),
        "shift": float(values["shift"].value),
        "timestep_cast": "int64_trunc",
    }
