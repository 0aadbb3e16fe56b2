"""Shifts that do nothing, replace each other, or feed another network than the model's."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.graph import Node
from ..levels.sampling import ModelSampling
from ..report import DOUBTFUL, NOTE, WRONG, Finding, show, show_all
from ..trace.families import Family
from ..trace.follow import CannotTell
from ..trace.models import ModelTrace, ShiftPatch
from ..trace.samplers import SamplerUse
from .case import Case, finding_at

__all__ = ["check_shifts"]

CORE = "ComfyUI 0.33.0 comfy/model_sampling.py, comfy_extras/nodes_model_advanced.py, nodes_custom_sampler.py"


def check_shifts(case: Case) -> Iterator[Finding]:
    """Check every sampler's own MODEL against the one that its scheduler reads, and what was patched onto it."""
    seen: set[tuple[str, str, str]] = set()
    for use in case.survey.samplers:
        for finding in (
            *_check_ineffective(use),
            *_check_replaced(use.model),
            *_check_multiplier(use),
            *_check_process(use),
        ):
            key = (finding.id, finding.node, finding.message)
            if key not in seen:
                seen.add(key)
                yield finding


def _check_ineffective(use: SamplerUse) -> Iterator[Finding]:
    """A patch on the sampler's MODEL alone: levels come from the scheduler's, the timestep from the level."""
    patch, scheduler = _get_last_patch(use), use.sigmas.scheduler
    if patch is None or patch.sampling is None or scheduler is None or scheduler is use.node:
        return
    other = use.sigmas.model
    if other is not None and patch.node.id in other.nodes:
        return
    sampling = other.sampling if other else None
    if not isinstance(sampling, CannotTell):
        yield _report_ineffective(use, patch, scheduler, sampling)


def _get_last_patch(use: SamplerUse) -> ShiftPatch | None:
    return use.model.patches[-1] if use.model.patches else None


def _report_ineffective(use: SamplerUse, patch: ShiftPatch, scheduler: Node, other: ModelSampling | None) -> Finding:
    """Say what the levels come from; it matters only where that is another shift."""
    assert patch.sampling is not None
    name, levels = f"node {scheduler.id} ({scheduler.type})", show_all(use.sigmas.levels or ())
    severity, remedy = NOTE, "Take the node out."
    if other is None:
        message = f"Changes nothing: the levels come from {name}, which reads no model ({levels})."
    elif other == patch.sampling:
        message = f"Changes nothing: the levels come from {name}, whose model has the same shift already."
    else:
        severity, remedy = WRONG, f"Link the MODEL of node {patch.node.id} to {name}."
        message = (
            f"The shift {_show_shift(patch.sampling)} changes nothing: the levels come from {name}, which reads "
            f"another branch of the model, with shift {_show_shift(other)} ({levels})."
        )
    return Finding("shift-ineffective", severity, patch.node.id, patch.node.title, message, CORE, remedy)


def _show_shift(sampling: ModelSampling) -> str:
    shift = getattr(sampling, "shift", getattr(sampling, "mu", None))
    return show(shift) if shift is not None else "of another kind"


def _check_replaced(model: ModelTrace) -> Iterator[Finding]:
    """Two patches in a row: the last one counts, the product does not."""
    for first, last in zip(model.patches, model.patches[1:], strict=False):
        if first.sampling is None or last.sampling is None or first.sampling == last.sampling:
            continue
        message = (
            f"The shift {_show_shift(first.sampling)} of this node is replaced by {_show_shift(last.sampling)} of node "
            f"{last.node.id}: patches of the sampling do not multiply, the last one counts."
        )
        remedy = f"Keep one of nodes {first.node.id} and {last.node.id}."
        yield Finding("shift-twice", DOUBTFUL, first.node.id, first.node.title, message, CORE, remedy)


def _check_multiplier(use: SamplerUse) -> Iterator[Finding]:
    """AuraFlow's patch feeds the level itself, SD3's a thousand times that."""
    patch = _get_last_patch(use)
    family = use.model.family
    if patch is None or family is None or not family.is_judged:
        return
    theirs, mine = getattr(family.sampling, "multiplier", None), getattr(patch.sampling, "multiplier", None)
    if theirs is None or mine is None or theirs == mine:
        return
    kind = "ModelSamplingSD3" if theirs == 1000 else "ModelSamplingAuraFlow"
    message = (
        f"Feeds {family.id} timesteps from 0 to {show(mine)} ({patch.node.type}); it was trained on those from 0 to "
        f"{show(theirs)}."
    )
    remedy = f"Replace it by {kind} with the same shift."
    yield Finding("wrong-multiplier", WRONG, patch.node.id, patch.node.title, message, CORE, remedy)


def _check_process(use: SamplerUse) -> Iterator[Finding]:
    """Levels or formulas of another noise process than the model's."""
    family = use.model.family
    if family is not None and family.is_judged:
        yield from _check_patched_process(use, family)
        yield from _check_levels_above_one(use, family)


def _check_patched_process(use: SamplerUse, family: Family) -> Iterator[Finding]:
    patch = _get_last_patch(use)
    if patch is None or patch.sampling is None or patch.sampling.process == family.sampling.process:
        return
    message = f"Samples {family.id} in another noise process ({patch.node.type}); it was trained as a flow."
    remedy = "Take the node out, or use ModelSamplingSD3."
    yield Finding("another-process", WRONG, patch.node.id, patch.node.title, message, CORE, remedy)


def _check_levels_above_one(use: SamplerUse, family: Family) -> Iterator[Finding]:
    largest, scheduler = max(use.sigmas.levels or (0.0,)), use.sigmas.scheduler
    if largest <= 1 + 1e-6 or scheduler is None or scheduler is use.node:
        return
    message = (
        f"This sampler visits levels up to {show(largest)}, but {family.id} is a flow, whose levels end at 1; node "
        f"{scheduler.id} ({scheduler.type}) makes levels of another process."
    )
    remedy = "Take the levels from BasicScheduler with this MODEL."
    yield finding_at(use, "another-process", WRONG, message, source=CORE, remedy=remedy)
