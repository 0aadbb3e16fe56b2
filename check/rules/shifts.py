"""Shifts that do nothing, replace each other, or feed another network than the model's."""

from __future__ import annotations

from collections.abc import Iterator

from ..levels.sampling import ModelSampling
from ..report import DOUBTFUL, NOTE, WRONG, Finding, show, show_all
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
        for finding in (*_ineffective(use), *_overridden(use.model), *_multiplier(use), *_process(use)):
            key = (finding.id, finding.node, finding.message)
            if key not in seen:
                seen.add(key)
                yield finding


def _ineffective(use: SamplerUse) -> Iterator[Finding]:
    """A patch on the sampler's MODEL alone: levels come from the scheduler's, the timestep from the level."""
    patch = use.model.patches[-1] if use.model.patches else None
    if patch is None or patch.sampling is None or use.sigmas.scheduler is None or use.sigmas.scheduler is use.node:
        return
    own = patch.sampling
    other = use.sigmas.model
    if other is not None and patch.node.id in other.nodes:
        return
    sampling = other.sampling if other else None
    if isinstance(sampling, CannotTell):
        return
    scheduler = f"node {use.sigmas.scheduler.id} ({use.sigmas.scheduler.type})"
    levels = show_all(use.sigmas.levels or ())
    if sampling is None:
        message = f"Changes nothing: the levels come from {scheduler}, which reads no model ({levels})."
        severity, remedy = NOTE, "Take the node out, or let a scheduler read this MODEL."
    elif sampling == own:
        message = f"Changes nothing: the levels come from {scheduler}, whose model has the same shift already."
        severity, remedy = NOTE, "Take the node out."
    else:
        message = (
            f"The shift {_shift(own)} changes nothing: the levels come from {scheduler}, which reads another branch of "
            f"the model, with shift {_shift(sampling)} ({levels})."
        )
        severity = WRONG
        remedy = f"Link the MODEL of node {patch.node.id} to {scheduler}."
    yield Finding("shift-ineffective", severity, patch.node.id, patch.node.title, message, CORE, remedy)


def _shift(sampling: ModelSampling) -> str:
    shift = getattr(sampling, "shift", getattr(sampling, "mu", None))
    return show(shift) if shift is not None else "of another kind"


def _overridden(model: ModelTrace) -> Iterator[Finding]:
    """Two patches in a row: the last one counts, the product does not."""
    for first, last in zip(model.patches, model.patches[1:], strict=False):
        if first.sampling is None or last.sampling is None or first.sampling == last.sampling:
            continue
        message = (
            f"The shift {_shift(first.sampling)} of this node is replaced by {_shift(last.sampling)} of node "
            f"{last.node.id}: patches of the sampling do not multiply, the last one counts."
        )
        remedy = f"Keep one of nodes {first.node.id} and {last.node.id}."
        yield Finding("shift-twice", DOUBTFUL, first.node.id, first.node.title, message, CORE, remedy)


def _multiplier(use: SamplerUse) -> Iterator[Finding]:
    """AuraFlow's patch feeds the level itself, SD3's a thousand times that."""
    patch: ShiftPatch | None = use.model.patches[-1] if use.model.patches else None
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


def _process(use: SamplerUse) -> Iterator[Finding]:
    """Levels of another noise process than the model's."""
    family = use.model.family
    if family is None or not family.is_judged:
        return
    patch = use.model.patches[-1] if use.model.patches else None
    if patch is not None and patch.sampling is not None and patch.sampling.process != family.sampling.process:
        message = f"Samples {family.id} in another noise process ({patch.node.type}); it was trained as a flow."
        yield Finding(
            "another-process", WRONG, patch.node.id, patch.node.title, message, CORE,
            "Take the node out, or use ModelSamplingSD3.",
        )  # fmt: skip
    largest = max(use.sigmas.levels or (0.0,))
    if largest > 1 + 1e-6 and use.sigmas.scheduler is not None and use.sigmas.scheduler is not use.node:
        message = (
            f"This sampler visits levels up to {show(largest)}, but {family.id} is a flow, whose levels end at 1; "
            f"node {use.sigmas.scheduler.id} ({use.sigmas.scheduler.type}) makes levels of another process."
        )
        yield finding_at(
            use, "another-process", WRONG, message, source=CORE,
            remedy="Take the levels from BasicScheduler with this MODEL.",
        )  # fmt: skip
