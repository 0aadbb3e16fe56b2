"""What a check cannot tell, and samplers that do not follow the levels they are given."""

from __future__ import annotations

from collections.abc import Iterator

from ..report import NOTE, WRONG, Finding
from ..trace.samplers import SamplerUse
from .case import Case, finding_at

__all__ = ["check_unknown"]

CORE = "ComfyUI 0.33.0 comfy/samplers.py (ksampler)"


def check_unknown(case: Case) -> Iterator[Finding]:
    """Name the ends of paths."""
    for use in case.survey.samplers:
        if use.sigmas.levels is None:
            yield finding_at(use, "cannot-tell", NOTE, f"The levels cannot be told: {use.sigmas.reason}.")
        yield from _ignored(case, use)
    for node in case.survey.unknown:
        message = f"{node.type} is not a node that is known here; what it samples cannot be told."
        yield Finding("cannot-tell", NOTE, node.id, node.title, message)
    yield from _not_runnable(case)


def _ignored(case: Case, use: SamplerUse) -> Iterator[Finding]:
    if use.rule is None or not use.rule.ignores_levels:
        return
    is_student = any(True for _ in case.trainings(use.model))
    message = (
        f"This sampler takes only the first and the last level ({use.rule.name}) and makes those between by itself, "
        "whatever the scheduler says."
    )
    yield finding_at(
        use, "sigmas-ignored", WRONG if is_student else NOTE, message, source=CORE,
        remedy="Use a sampler that visits the levels it is given.",
    )  # fmt: skip


def _not_runnable(case: Case) -> Iterator[Finding]:
    """Students of which core has no network."""
    seen = set()
    for use in case.survey.samplers:
        for file in (*((use.model.file,) if use.model.file else ()), *use.model.loras):
            found = case.students.recognise(file.name).students
            unknown = case.students.explain_unknown(file.name)
            if unknown and not found and file.node.id not in seen:
                seen.add(file.node.id)
                message = f"{file.name}: {unknown}"
                yield Finding("unknown-student", NOTE, file.node.id, file.node.title, message)
            why = found[0].cannot_run if len(found) == 1 else ""
            if why and file.node.id not in seen:
                seen.add(file.node.id)
                source = "; ".join(map(str, found[0].sources[:2]))
                yield Finding("cannot-run", WRONG, file.node.id, file.node.title, f"{file.name}: {why}", source)
