"""What a SIGMAS link carries: levels, and the MODEL whose shift they were made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..graph.graph import Node
from ..levels.sampling import ModelSampling
from ..levels.schedulers import UnknownLevels
from ..levels.sigma_nodes import FROM_MODEL, FROM_NUMBERS, FROM_SIGMAS, NOT_COMPUTED
from .follow import CannotTell, Follower, Origin, Value
from .geometry import GEOMETRIES
from .latents import LatentTracer
from .models import ModelTrace, ModelTracer
from .ours import APPENDED, OWN_SCHEDULES, ContractTracer, contract_levels

__all__ = ["MOST_STEPS", "SigmasTrace", "SigmasTracer", "compute", "trace_own"]

MOST_STEPS = 10_000


@dataclass(frozen=True)
class SigmasTrace:
    """What a SIGMAS link carries.

    Attributes:
        levels: Noisiest first, or None where they cannot be told.
        reason: Why they cannot.
        model: The MODEL that the scheduler reads, or None where it reads none.
        scheduler: The node that made the levels.
        values: Its widgets.
        nodes: Ids of the nodes from the scheduler on.
        timesteps: What is fed at the levels, where the node that made them decides that.
        contract: The contract that they were made from.
    """

    levels: tuple[float, ...] | None = None
    reason: str = ""
    model: ModelTrace | None = None
    scheduler: Node | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    timesteps: tuple[float, ...] | None = None
    contract: Mapping[str, Any] | None = None


class SigmasTracer:
    """Follows SIGMAS links."""

    def __init__(self, follow: Follower, models: ModelTracer, contracts: ContractTracer) -> None:
        self.follow, self.models, self.contracts = follow, models, contracts
        self.latents = LatentTracer(follow)
        self._known: dict[Any, SigmasTrace] = {}

    def of_input(self, node: Node, name: str = "sigmas") -> SigmasTrace:
        """Return what reaches a SIGMAS input."""
        origin = self.follow.origin(node, name)
        if origin is None:
            return SigmasTrace(reason=f"nothing is linked to {name} of node {node.id}")
        return SigmasTrace(reason=origin.reason) if isinstance(origin, CannotTell) else self.of_output(origin)

    def of_output(self, origin: Origin) -> SigmasTrace:
        """Return what a SIGMAS output carries."""
        key = (origin[0].id, origin[1])
        if key not in self._known:
            self._known[key] = SigmasTrace(reason="links run in a circle")
            self._known[key] = self._trace(*origin)
        return self._known[key]

    def _trace(self, node: Node, slot: int) -> SigmasTrace:
        values = self.values(node)
        if isinstance(values, CannotTell):
            return SigmasTrace(reason=values.reason, scheduler=node, nodes=(node.id,))
        if node.type in FROM_SIGMAS:
            return self._trace_changed(node, slot, values)
        if node.type in OWN_SCHEDULES:
            return self._trace_own(node, values)
        model = self.models.of_input(node) if node.type in FROM_MODEL else None
        found: list[float] | CannotTell
        plain = {name: value.value for name, value in values.items()}
        if model is not None:
            sampling = model.sampling
            found = sampling if isinstance(sampling, CannotTell) else _trace_from_model(node, sampling, plain)
        elif node.type in FROM_NUMBERS:
            tokens = self._count_tokens(node) if node.link("latent") else {}
            found = tokens if isinstance(tokens, CannotTell) else _trace_from_numbers(node, plain | tokens)
        else:
            way = NOT_COMPUTED.get(node.type, "a way that is not known here")
            found = CannotTell(f"node {node.id} ({node.type}) makes levels by {way}")
        levels, reason = (None, found.reason) if isinstance(found, CannotTell) else (tuple(found), "")
        return SigmasTrace(levels, reason, model, node, values, (node.id,))

    def _count_tokens(self, node: Node) -> dict[str, int] | CannotTell:
        """Return the number of latents of a linked latent, where the node that makes it has its size in widgets."""
        maker = self.latents.latent(node, "latent")
        made = GEOMETRIES.get(maker.node.type) if maker.node and not maker.via else None
        if maker.node is None or made is None:
            return CannotTell(f"the levels depend on the size of a latent that node {node.id} is given")
        sizes = [self.follow.number(maker.node, name) for name in ("width", "height", "length")]
        known = [size for size in sizes if not isinstance(size, CannotTell)]
        if len(known) < (3 if made.frames > 1 else 2):
            return CannotTell(f"the levels depend on the size of the latent of node {maker.node.id}")
        width, height, *length = (int(size) for size in known)
        frames = (length[0] - 1) // made.frames + 1 if made.frames > 1 else 1
        return {"tokens": width // made.cell * (height // made.cell) * frames}

    def _trace_own(self, node: Node, values: Mapping[str, Value]) -> SigmasTrace:
        """The levels of this pack's schedules and contracts."""
        from_contract = node.type == "WanLiteContractSampling"
        fields = self.contracts.of_node(node) if from_contract else self.contracts.schedule_fields(node, values)
        if isinstance(fields, CannotTell):
            return SigmasTrace(reason=fields.reason, scheduler=node, values=values, nodes=(node.id,))
        found = trace_own(node, fields, values)
        if node.type == "WanLiteDDIMSchedule" and node.link("model") and found.timesteps is not None:
            return _take_levels_of(self.models.of_input(node), found)
        return replace(found, contract=fields) if from_contract else replace(found, timesteps=None)

    def _trace_changed(self, node: Node, slot: int, values: Mapping[str, Value]) -> SigmasTrace:
        inner = self.of_input(node)
        plain = {name: value.value for name, value in values.items()}
        if inner.levels is None:
            levels, reason = None, inner.reason
        else:
            before = list(inner.levels)
            found = compute(lambda: FROM_SIGMAS[node.type](before, plain, slot))
            levels, reason = (None, found.reason) if isinstance(found, CannotTell) else (tuple(found), "")
        return SigmasTrace(levels, reason, inner.model, inner.scheduler, inner.values, (*inner.nodes, node.id))

    def values(self, node: Node) -> dict[str, Value] | CannotTell:
        """Return the values of all widgets of a node."""
        found: dict[str, Value] = {}
        for name, value in self.follow.widgets(node).items():
            if name in APPENDED and name not in node.inputs:
                continue
            if isinstance(value, CannotTell):
                return CannotTell(f"{name} of node {node.id} is what {value.reason}")
            found[name] = value
        return found


def trace_own(node: Node, fields: Mapping[str, Any], values: Mapping[str, Value]) -> SigmasTrace:
    """Return the levels of a schedule of this pack with what is fed at them."""
    found = SigmasTrace(scheduler=node, values=values, nodes=(node.id,))
    try:
        levels, fed = contract_levels(fields, float(values["denoise"].value) if "denoise" in values else 1.0)
    except UnknownLevels as error:
        return replace(found, reason=str(error))
    except (ArithmeticError, ValueError, TypeError, KeyError, IndexError) as error:
        return replace(found, reason=f"the schedule cannot be made ({type(error).__name__})")
    return replace(found, levels=tuple(levels), timesteps=tuple(fed))


def _trace_from_model(node: Node, sampling: ModelSampling, values: Mapping[str, Any]) -> list[float] | CannotTell:
    return compute(lambda: FROM_MODEL[node.type](sampling, values), int(values.get("steps", 1)))


def _take_levels_of(model: ModelTrace, found: SigmasTrace) -> SigmasTrace:
    """Return the DDIM schedule's timesteps at a model's own levels; of a flow model without its shift."""
    sampling, fed = model.sampling, found.timesteps or ()
    if isinstance(sampling, CannotTell):
        return replace(found, levels=None, timesteps=None, reason=sampling.reason)
    is_flow = sampling.process == "flow"
    levels = [t / 1000 for t in fed if t > 0] if is_flow else [sampling.sigma(t) for t in fed]
    return replace(found, levels=(*levels, 0.0), timesteps=None, model=model)


def _trace_from_numbers(node: Node, values: Mapping[str, Any]) -> list[float] | CannotTell:
    return compute(lambda: FROM_NUMBERS[node.type](values), int(values.get("steps", 1)))


def compute(formula: Any, steps: int = 1) -> list[float] | CannotTell:
    """Return the levels that a formula gives, or why it gives none."""
    if not 1 <= steps <= MOST_STEPS:
        return CannotTell(f"steps is {steps}, and core allows 1 to {MOST_STEPS}")
    try:
        return [float(level) for level in formula()]
    except UnknownLevels as error:
        return CannotTell(str(error))
    except (ArithmeticError, ValueError, TypeError, KeyError, IndexError) as error:
        return CannotTell(f"the formula has no value here ({type(error).__name__})")
