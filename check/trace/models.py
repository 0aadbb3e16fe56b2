"""What a MODEL link carries: the file, its family, LoRAs with strengths, and the sampling with its real shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..graph.graph import Node
from ..graph.node_table import find_type
from ..levels.sampling import (
    ContinuousEDM,
    ContinuousV,
    CosmosFlow,
    DiscreteEpsilon,
    DiscreteFlow,
    FluxFlow,
    ModelSampling,
)
from .families import CAUSAL_WAN, Family, find_family
from .follow import CannotTell, Follower, Origin, Value

__all__ = ["LOADERS", "LoadedFile", "ModelTrace", "ModelTracer", "ShiftPatch"]

LOADERS = {
    **dict.fromkeys(("UNETLoader", "UnetLoaderGGUF", "UnetLoaderGGUFAdvanced"), "unet_name"),
    **dict.fromkeys(("CheckpointLoaderSimple", "CheckpointLoader", "ImageOnlyCheckpointLoader"), "ckpt_name"),
    "unCLIPCheckpointLoader": "ckpt_name",
    "WanLiteStudentLoader": "student_name",
}
"""Nodes that load a MODEL as their first output, and the widget with the file's name."""

LORA_LOADERS = {
    **dict.fromkeys(("LoraLoader", "LoraLoaderModelOnly", "LoraLoaderBypass", "LoraLoaderBypassModelOnly"), None),
    "WanLiteLoadLoRA": "strength",
}
"""Nodes that add a LoRA; the widget with its strength where it is not ``strength_model``."""


@dataclass(frozen=True)
class LoadedFile:
    """A file that takes part in a MODEL: ``strength`` is None for the model itself or where it cannot be told."""

    name: str
    node: Node
    strength: Value | None = None


@dataclass(frozen=True)
class ShiftPatch:
    """A node that replaced the model's sampling."""

    node: Node
    sampling: ModelSampling | None
    shift: Value | None = None


@dataclass(frozen=True)
class ModelTrace:
    """What a MODEL link carries.

    Attributes:
        file: The model's own file, or None where the path ended before a loader.
        loras: In the order in which they were added, without those of strength 0.
        patches: Nodes that replaced the sampling, in order; the last one counts.
        unknown: Why the path could not be followed to its end, or None.
        sampling_unknown: Why the sampling cannot be told.
        contract_from: The node of this pack that put a contract on the MODEL.
    """

    file: LoadedFile | None = None
    family: Family | None = None
    loras: tuple[LoadedFile, ...] = ()
    patches: tuple[ShiftPatch, ...] = ()
    nodes: tuple[str, ...] = ()
    unknown: str | None = None
    sampling_unknown: str | None = None
    contract_from: Node | None = None

    @property
    def files(self) -> tuple[LoadedFile, ...]:
        """The model's own file and its LoRAs."""
        return (self.file, *self.loras) if self.file else self.loras

    @property
    def sampling(self) -> ModelSampling | CannotTell:
        """What a scheduler with this MODEL reads."""
        if self.sampling_unknown:
            return CannotTell(self.sampling_unknown)
        if self.patches:
            last = self.patches[-1]
            return last.sampling or CannotTell(f"node {last.node.id} ({last.node.type}) replaces the model's sampling")
        if self.unknown:
            return CannotTell(self.unknown)
        if self.family is None:
            name = self.file.name if self.file else "the model"
            return CannotTell(f"the name {name!r} does not tell a family of models whose levels are known")
        return self.family.sampling


class ModelTracer:
    """Follows MODEL links; every node's output is traced once."""

    def __init__(self, follow: Follower) -> None:
        self.follow = follow
        self._known: dict[str, ModelTrace] = {}

    def of_input(self, node: Node, name: str = "model") -> ModelTrace:
        """Return what reaches a MODEL input."""
        origin = self.follow.origin(node, name)
        if origin is None:
            return ModelTrace(unknown=f"nothing is linked to {name} of node {node.id}")
        if isinstance(origin, CannotTell):
            return ModelTrace(unknown=origin.reason)
        return self.of_output(origin)

    def of_output(self, origin: Origin) -> ModelTrace:
        """Return what a MODEL output carries."""
        node = origin[0]
        if node.id not in self._known:
            self._known[node.id] = ModelTrace(unknown="links run in a circle")
            found = self._trace(node)
            self._known[node.id] = replace(found, nodes=(*found.nodes, node.id))
        return self._known[node.id]

    def _trace(self, node: Node) -> ModelTrace:
        if node.type in LOADERS:
            return self._load(node)
        if node.type in LORA_LOADERS:
            return self._add_lora(node)
        if node.type in PATCHES:
            return self._patch(node)
        known = find_type(node.type)
        sockets = known.sockets("MODEL") if known else []
        if not sockets or "MODEL" not in (known.outputs if known else ()):
            return ModelTrace(unknown=f"node {node.id} ({node.type}) makes the model in a way that is not known here")
        inner = self.of_input(node, sockets[0])
        if len(sockets) > 1:
            return replace(inner, family=inner.family, file=None, loras=(), unknown=f"node {node.id} merges models")
        if node.type in ("WanLiteContractSampling", "WanLiteLoadLoRA"):
            return replace(inner, contract_from=node)
        if node.type in SAMPLING_FROM_INPUTS:
            return replace(inner, patches=(*inner.patches, ShiftPatch(node, None)))
        return inner

    def _load(self, node: Node) -> ModelTrace:
        name = self.follow.value(node, LOADERS[node.type])
        if isinstance(name, CannotTell):
            return ModelTrace(unknown=f"node {node.id} loads a file whose name {name.reason}")
        file = LoadedFile(str(name.value), node)
        family = find_family(file.name)
        is_told = family is None or family.id != CAUSAL_WAN or bool(self.follow.graph.of_type("SamplerARVideo"))
        reason = f"whether core samples {file.name} as a causal model (shift 5) or not (shift 8) stands in its header"
        return ModelTrace(file=file, family=family, sampling_unknown=None if is_told else reason)

    def _add_lora(self, node: Node) -> ModelTrace:
        inner = self.of_input(node)
        name = self.follow.value(node, "lora_name")
        strength = self.follow.value(node, LORA_LOADERS[node.type] or "strength_model")
        if isinstance(name, CannotTell):
            return replace(inner, unknown=inner.unknown or f"node {node.id} loads a LoRA whose name {name.reason}")
        known = strength if isinstance(strength, Value) else None
        if known is not None and known.value == 0:
            return inner
        found = replace(inner, loras=(*inner.loras, LoadedFile(str(name.value), node, known)))
        return replace(found, contract_from=node) if node.type == "WanLiteLoadLoRA" else found

    def _patch(self, node: Node) -> ModelTrace:
        inner = self.of_input(node)
        sampling, shift = PATCHES[node.type](self.follow, node)
        patch = ShiftPatch(node, None if isinstance(sampling, CannotTell) else sampling, shift)
        reason = f"its shift {sampling.reason}" if isinstance(sampling, CannotTell) else None
        return replace(inner, patches=(*inner.patches, patch), sampling_unknown=reason)


Patched = tuple[ModelSampling | CannotTell, Value | None]


def _make_flow_patch(multiplier: float, name: str = "shift") -> Callable[[Follower, Node], Patched]:
    def patch(follow: Follower, node: Node) -> Patched:
        number, value = follow.number(node, name), follow.value(node, name)
        known = value if isinstance(value, Value) else None
        if isinstance(number, CannotTell):
            return number, None
        return (DiscreteFlow(number, multiplier) if number > 0 else CannotTell(f"is {number:g}")), known

    return patch


def _patch_flux(follow: Follower, node: Node) -> Patched:
    """The shift of Flux grows with the image's size, linearly between 256 and 4096 tokens."""
    names = ("max_shift", "base_shift", "width", "height")
    numbers = [follow.number(node, name) for name in names]
    unknown = next((number for number in numbers if isinstance(number, CannotTell)), None)
    if unknown is not None:
        return unknown, None
    most, least, width, height = (number for number in numbers if not isinstance(number, CannotTell))
    slope = (most - least) / (4096 - 256)
    return FluxFlow(width * height / 256 * slope + least - slope * 256), None


def _patch_discrete(follow: Follower, node: Node) -> Patched:
    kind, zsnr = follow.value(node, "sampling"), follow.value(node, "zsnr")
    plain = isinstance(kind, Value) and kind.value in ("eps", "v_prediction", "x0", "img_to_img")
    if plain and isinstance(zsnr, Value) and not zsnr.value:
        return DiscreteEpsilon(), None
    return CannotTell(f"node {node.id} ({node.type}) has settings whose levels are not computed here"), None


def _patch_continuous(follow: Follower, node: Node) -> Patched:
    low, high = follow.number(node, "sigma_min"), follow.number(node, "sigma_max")
    kind = follow.value(node, "sampling")
    for found in (low, high, kind):
        if isinstance(found, CannotTell):
            return found, None
    assert not isinstance(low, CannotTell) and not isinstance(high, CannotTell) and isinstance(kind, Value)
    if not 0 < low < high:
        return CannotTell(f"has its levels from {low:g} to {high:g}"), None
    if node.type == "ModelSamplingContinuousV":
        return ContinuousV(low, high), None
    return (CosmosFlow if kind.value == "cosmos_rflow" else ContinuousEDM)(low, high), None


PATCHES: dict[str, Callable[[Follower, Node], Patched]] = {
    "ModelSamplingSD3": _make_flow_patch(1000.0),
    "ModelSamplingAuraFlow": _make_flow_patch(1.0),
    "MiniMaxH3SigmaShift": _make_flow_patch(1000.0, "shift_video"),
    "ModelSamplingFlux": _patch_flux,
    "ModelSamplingDiscrete": _patch_discrete,
    "ModelSamplingContinuousEDM": _patch_continuous,
    "ModelSamplingContinuousV": _patch_continuous,
}
"""Nodes that replace a model's sampling."""

SAMPLING_FROM_INPUTS = ("ModelSamplingLTXV", "ModelSamplingStableCascade")
"""Nodes that replace it by one that is not computed here."""
