"""Which widgets of a workflow must say what, so that its samplers visit a student's levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..report import Change, show
from ..trace.runs import Run
from ..trace.samplers import SamplerUse
from ..training import Training
from .case import change_to

__all__ = ["Recipe", "find_recipe"]


@dataclass(frozen=True)
class Recipe:
    """Changes that bring a run to a student's levels, and what must be done by hand besides."""

    changes: tuple[Change, ...] = ()
    by_hand: tuple[str, ...] = ()

    @property
    def value_changes(self) -> tuple[Change, ...]:
        """The changes where they are all that is needed."""
        return () if self.by_hand else self.changes

    @property
    def text(self) -> str:
        """The recipe as a sentence or two."""
        parts = [f"set {c.input} of node {c.node} to {c.value}" for c in self.changes]
        words = [*parts, *self.by_hand]
        return "; ".join([words[0][0].upper() + words[0][1:], *words[1:]]) + "." if words else ""


def find_recipe(run: Run, uses: Sequence[SamplerUse], training: Training) -> Recipe:
    """Return what to change so that ``uses``, the run's samplers of a student, visit its levels."""
    core = training.core
    if training.boundary is not None and len(run.samplers) == 1:
        other = "low" if training.role == "high" else "high"
        return Recipe((), (f"sample the levels beyond {show(training.boundary[0])} with the {other}-noise expert",))
    if core.get("scheduler") == "manual" or "scheduler" not in core:
        return _write_manual(uses, training)
    changes, by_hand = [], []
    for use in uses:
        for found in (*_list_number_changes(run, use, core), _change_shift(use, float(core["shift"]))):
            if isinstance(found, Change):
                changes.append(found)
            elif found:
                by_hand.append(found)
    unique = {(change.node, change.input): change for change in changes}
    return Recipe(tuple(unique.values()), tuple(dict.fromkeys(by_hand)))


def _list_number_changes(run: Run, use: SamplerUse, core: object) -> Iterator[Change | str]:
    """Steps, scheduler, denoise, and where two samplers share a run."""
    assert isinstance(core, dict)
    wanted: dict[str, object] = {"steps": core["steps"], "scheduler": core["scheduler"], "denoise": 1}
    is_first, is_last = use is run.samplers[0], use is run.samplers[-1]
    if len(run.samplers) == 2 and "switch" in core:
        wanted |= {"end_at_step": core["switch"]} if is_first else {"start_at_step": core["switch"]}
    elif is_first and is_last:
        wanted |= {"start_at_step": 0}
    scheduler = use.sigmas.scheduler
    if scheduler is not None and scheduler.type not in (use.node.type, "BasicScheduler"):
        yield (
            f"give node {use.node.id} the levels of BasicScheduler with {core['scheduler']}, {core['steps']} steps "
            f"and shift {show(float(core['shift']))} instead of those of node {scheduler.id} ({scheduler.type})"
        )
        return
    for name, value in wanted.items():
        present = use.sigmas.values.get(name)
        if present is None or present.value == value or (name == "start_at_step" and value == 0 == present.value):
            continue
        change = change_to(present, value)
        yield change or f"make {name} of node {use.node.id} {value}"


def _change_shift(use: SamplerUse, shift: float) -> Change | str | None:
    model = use.sigmas.model
    if model is None or model.unknown:
        return None
    sampling = model.sampling
    if getattr(sampling, "shift", None) == shift:
        return None
    shift = int(shift) if shift.is_integer() else shift
    if not model.patches:
        kind = "ModelSamplingSD3" if getattr(sampling, "multiplier", 1000) == 1000 else "ModelSamplingAuraFlow"
        return f"put {kind} with shift {show(shift)} on the MODEL that the scheduler of node {use.node.id} reads"
    patch = model.patches[-1]
    return change_to(patch.shift, shift) or f"make the shift of node {patch.node.id} {show(shift)}"


def _write_manual(uses: Sequence[SamplerUse], training: Training) -> Recipe:
    """No scheduler of core has these levels: they are typed into ManualSigmas."""
    levels = [f"{level:.6g}" for level in training.levels]
    text = ", ".join([*levels, "0"])
    scheduler = uses[0].sigmas.scheduler
    if len(uses) == 1 == len(uses[0].sigmas.nodes) and scheduler is not None and scheduler.type == "ManualSigmas":
        change = change_to(uses[0].sigmas.values.get("sigmas"), text)
        return Recipe((change,)) if change else Recipe((), (f"make the sigmas {text}",))
    return Recipe((), (f"no scheduler of core has these levels: give SamplerCustom a ManualSigmas of {text}",))
