"""Every sampler of a graph with all that reaches it: the levels it visits and what it does at each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..graph.graph import Graph, Node
from ..graph.node_table import find_type
from ..levels.sampling import ModelSampling
from ..levels.sigma_nodes import ksampler_levels
from .follow import CannotTell, Follower, Value
from .latents import LatentTrace, LatentTracer
from .models import ModelTrace, ModelTracer
from .ours import OWN_SAMPLERS, OWN_SOLVERS, Contracts, ContractTracer, NothingKnown, schedule_fields
from .sigmas import SigmasTrace, SigmasTracer, compute, trace_own
from .updates import SAMPLER_NODES, UpdateRule, find_rule

__all__ = ["SamplerUse", "Survey", "survey"]


@dataclass(frozen=True)
class SamplerUse:
    """One sampler.

    Attributes:
        node: The node that samples.
        sigmas: Levels with the model that the scheduler reads, and its widgets.
        model: The MODEL that is sampled.
        rule: The update, or None where it cannot be told.
        cfg: Guidance; None where it cannot be told. ``is_guided`` is False where there is no negative pass at all.
        seed: Of the noise.
        adds_noise: Whether noise is added to the latent; None where it cannot be told.
        latent: Where the latent comes from.
        values: The node's own widgets.
        positive: The node and the input whose CONDITIONING is sampled.
        whole: The levels before start and end cut them.
        sampler_name: The widget that names the update.
        low_expert: The second model of this pack's guider of two experts, which feeds truncated timesteps.
        boundary: The level at which that guider changes to it.
    """

    node: Node
    sigmas: SigmasTrace
    model: ModelTrace
    rule: UpdateRule | None = None
    cfg: Value | None = None
    seed: Value | None = None
    adds_noise: bool | None = True
    latent: LatentTrace = field(default_factory=LatentTrace)
    values: dict[str, Value] = field(default_factory=dict)
    positive: tuple[Node, str] | None = None
    whole: tuple[float, ...] | None = None
    sampler_name: Value | None = None
    low_expert: ModelTrace | None = None
    boundary: Value | None = None

    @property
    def levels(self) -> tuple[float, ...] | None:
        """Levels at which the network is called, or None where they cannot be told."""
        return None if self.sigmas.levels is None else self.sigmas.levels[:-1]

    @property
    def last_level(self) -> float | None:
        """The level at which the sampler stops; above 0 its output still holds noise."""
        return self.sigmas.levels[-1] if self.sigmas.levels else None

    @property
    def timesteps(self) -> list[float] | None:
        """What the network is fed, or None where it cannot be told."""
        if self.sigmas.timesteps is not None and len(self.sigmas.timesteps) == len(self.levels or ()):
            return list(self.sigmas.timesteps)
        sampling = self.model.sampling
        if isinstance(sampling, CannotTell) or self.levels is None or (self.rule and not self.rule.is_single):
            return None
        fed = [sampling.timestep(level) for level in self.levels]
        return [float(int(timestep + 1e-6)) for timestep in fed] if self.low_expert else fed


@dataclass(frozen=True)
class Survey:
    """A graph's samplers with the tracers that found them."""

    graph: Graph
    follow: Follower
    models: ModelTracer
    latents: LatentTracer
    samplers: tuple[SamplerUse, ...]
    unknown: tuple[Node, ...] = ()
    """Nodes that probably sample, but are not known here."""


def survey(graph: Graph, contracts: Contracts | None = None) -> Survey:
    """Return all samplers of a graph; ``contracts`` gives the contract of a file, for this pack's own nodes."""
    follow = Follower(graph)
    models, latents = ModelTracer(follow), LatentTracer(follow)
    reader = _Reader(
        follow,
        models,
        SigmasTracer(follow, models, ContractTracer(follow, models, contracts or NothingKnown())),
        latents,
    )
    found = tuple(READERS[node.type](reader, node) for node in graph if node.type in READERS)
    return Survey(graph, follow, models, latents, found, tuple(_list_unknown_samplers(graph)))


def _list_unknown_samplers(graph: Graph) -> Iterator[Node]:
    """Nodes of other packs that call themselves samplers and take a model or latents."""
    for node in graph:
        takes = {"model", "guider", "latent_image", "latent", "samples"} & set(node.inputs)
        if find_type(node.type) is None and "sampler" in node.type.lower() and takes:
            yield node


@dataclass(frozen=True)
class _Reader:
    """Reads the nodes that sample."""

    follow: Follower
    models: ModelTracer
    sigmas: SigmasTracer
    latents: LatentTracer

    def ksampler(self, node: Node) -> SamplerUse:
        values, model = self._read_values(node), self.models.of_input(node)
        levels = self._find_ksampler_levels(model, values)
        whole = None if isinstance(levels, CannotTell) else tuple(levels)
        found = levels if isinstance(levels, CannotTell) else _cut_levels(tuple(levels), values)
        cut, reason = (None, found.reason) if isinstance(found, CannotTell) else (found, "")
        name = values.get("sampler_name")
        noise = values.get("add_noise")
        return SamplerUse(
            node=node,
            sigmas=SigmasTrace(cut, reason, model, node, values),
            model=model,
            rule=find_rule(str(name.value)) if name else None,
            cfg=values.get("cfg"),
            seed=values.get("noise_seed", values.get("seed")),
            adds_noise=(noise.value != "disable" if noise else None) if "add_noise" in node.inputs else True,
            latent=self.latents.latent(node, "latent_image"),
            values=values,
            positive=(node, "positive"),
            whole=whole,
        )

    def _read_values(self, node: Node) -> dict[str, Value]:
        found = self.follow.widgets(node).items()
        return {name: value for name, value in found if isinstance(value, Value)}

    def _find_ksampler_levels(self, model: ModelTrace, values: dict[str, Value]) -> list[float] | CannotTell:
        missing = [name for name in ("sampler_name", "scheduler", "steps") if name not in values]
        if missing:
            return CannotTell(f"{missing[0]} is computed by another node")
        sampling: ModelSampling | CannotTell = model.sampling
        if isinstance(sampling, CannotTell):
            return sampling
        scheduler, sampler = str(values["scheduler"].value), str(values["sampler_name"].value)
        steps, denoise = int(values["steps"].value), float(values["denoise"].value if "denoise" in values else 1)
        return compute(lambda: ksampler_levels(sampling, sampler, scheduler, steps, denoise), steps)

    def custom(self, node: Node) -> SamplerUse:
        values, model = self._read_values(node), self.models.of_input(node)
        noise = values.get("add_noise")
        return self._make_use(
            node,
            model=model,
            cfg=values.get("cfg"),
            seed=values.get("noise_seed"),
            adds_noise=bool(noise.value) if noise else None,
            values=values,
            positive=(node, "positive"),
        )

    def advanced(self, node: Node) -> SamplerUse:
        noise = self.follow.origin(node, "noise")
        maker = noise[0] if isinstance(noise, tuple) else None
        seed = self.follow.value(maker, "noise_seed") if maker and "noise_seed" in maker.inputs else None
        model, cfg, positive = self._trace_guider(node)
        experts = positive[0] if positive and positive[0].type == "WanLiteExpertsGuider" else None
        boundary = self._find_boundary(experts, self.sigmas.of_input(node)) if experts else None
        return self._make_use(
            node,
            model=model,
            cfg=cfg,
            seed=seed if isinstance(seed, Value) else None,
            adds_noise=None if maker is None else maker.type != "DisableNoise",
            positive=positive,
            low_expert=self.models.of_input(experts, "model_low_noise") if experts else None,
            boundary=boundary if isinstance(boundary, Value) else None,
        )

    def _make_use(self, node: Node, **found: Any) -> SamplerUse:
        """Return the use of a node with SIGMAS and SAMPLER as inputs, where the rest of it is found."""
        trace = self.sigmas.of_input(node)
        rule, name = self._find_rule(node)
        latent = self.latents.latent(node, "latent_image")
        return SamplerUse(
            node=node, sigmas=trace, rule=rule, sampler_name=name, latent=latent, whole=trace.levels, **found
        )

    def _find_boundary(self, experts: Node, sigmas: SigmasTrace) -> Value | CannotTell | None:
        """Return where the guider changes experts: where the contract says, else where its widget does."""
        contract = sigmas.contract or {}
        if "boundary" in contract or "boundary_step" in contract:
            return Value(contract["boundary"]) if "boundary" in contract else None
        return self.follow.value(experts, "boundary")

    def ours(self, node: Node) -> SamplerUse:
        """Read a sampler of this pack, which makes its levels from its own widgets."""
        values, model = self._read_values(node), self.models.of_input(node)
        missing = [name for name in ("steps", "shift", "denoise") if name not in values]
        if missing:
            trace = SigmasTrace(reason=f"{missing[0]} is computed by another node", scheduler=node, values=values)
        else:
            trace = trace_own(node, schedule_fields(node, values), values)
        return SamplerUse(
            node=node,
            sigmas=trace,
            model=model,
            rule=find_rule(OWN_SAMPLERS[node.type]),
            cfg=values.get("cfg"),
            seed=values.get("seed"),
            latent=self.latents.latent(node, "latent_image"),
            values=values,
            positive=(node, "positive"),
            whole=trace.levels,
        )

    def _trace_guider(self, node: Node) -> tuple[ModelTrace, Value | None, tuple[Node, str] | None]:
        origin = self.follow.origin(node, "guider")
        if not isinstance(origin, tuple):
            return ModelTrace(unknown=f"the guider of node {node.id} cannot be followed"), None, None
        guider = origin[0]
        known = find_type(guider.type)
        if guider.type == "WanLiteExpertsGuider":
            cfg = self.follow.value(guider, "cfg_high_noise")
            model = self.models.of_input(guider, "model_high_noise")
            return model, cfg if isinstance(cfg, Value) else None, (guider, "positive")
        if known is None or "model" not in guider.inputs:
            return (
                ModelTrace(unknown=f"node {guider.id} ({guider.type}) is not a guider that is known here"),
                None,
                None,
            )
        model = self.models.of_input(guider)
        if guider.type == "BasicGuider":
            return model, Value(1.0), (guider, "conditioning")
        found = self.follow.value(guider, "cfg") if known.input("cfg") else None
        return model, found if isinstance(found, Value) else None, (guider, "positive")

    def _find_rule(self, node: Node) -> tuple[UpdateRule | None, Value | None]:
        """Return the update of a SAMPLER input, and the widget that names it."""
        origin = self.follow.origin(node, "sampler")
        if not isinstance(origin, tuple):
            return None, None
        maker = origin[0]
        if maker.type == "KSamplerSelect":
            name = self.follow.value(maker, "sampler_name")
            return (find_rule(str(name.value)), name) if isinstance(name, Value) else (None, None)
        if maker.type == "WanLiteContractSampling":
            contract = self.sigmas.contracts.of_node(maker)
            if isinstance(contract, CannotTell):
                return None, None
            solver = "ar_video" if "causal" in contract else str(contract["solver"])
            return find_rule("wan_lite_ddim" if solver == "ddim" else solver), None
        name_of = SAMPLER_NODES | OWN_SOLVERS
        return find_rule(name_of[maker.type]) if maker.type in name_of else None, None


def _cut_levels(levels: tuple[float, ...], values: dict[str, Value]) -> tuple[float, ...] | CannotTell:
    """Apply KSamplerAdvanced's start, end and leftover noise."""
    if "start_at_step" not in values and "end_at_step" not in values:
        return levels
    names = ("start_at_step", "end_at_step", "return_with_leftover_noise")
    if not all(name in values for name in names):
        return CannotTell("the steps from which and to which it samples are computed by another node")
    start, end = max(int(values[names[0]].value), 0), max(int(values[names[1]].value), 0)
    if end < len(levels) - 1:
        levels = levels[: end + 1]
        if values[names[2]].value != "enable" and levels:
            levels = (*levels[:-1], 0.0)
    return levels[start:] if start < len(levels) - 1 else ()


READERS = {
    "KSampler": _Reader.ksampler,
    "KSamplerAdvanced": _Reader.ksampler,
    "SamplerCustom": _Reader.custom,
    "SamplerCustomAdvanced": _Reader.advanced,
    **dict.fromkeys(OWN_SAMPLERS, _Reader.ours),
}
"""Nodes that sample."""
