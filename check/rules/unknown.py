"""What a check cannot tell, and samplers that do not follow the levels they are given."""

from __future__ import annotations

from collections.abc import Iterator

from ...models.known_students import KnownStudent
from ..report import NOTE, WRONG, Finding
from ..trace.models import LoadedFile
from ..trace.samplers import SamplerUse
from .case import Case, finding_at

__all__ = ["check_unknown"]

CORE = "ComfyUI 0.33.0 comfy/samplers.py (ksampler)"


def check_unknown(case: Case) -> Iterator[Finding]:
    """Name the ends of paths."""
    for use in case.survey.samplers:
        if use.sigmas.levels is None:
            yield finding_at(use, "cannot-tell", NOTE, f"The levels cannot be told: {use.sigmas.reason}.")
        yield from _check_ignored_sigmas(case, use)
    for node in case.survey.unknown:
        message = f"{node.type} is not a node that is known here; what it samples cannot be told."
        yield Finding("cannot-tell", NOTE, node.id, node.title, message)
    yield from _check_students(case)


def _check_ignored_sigmas(case: Case, use: SamplerUse) -> Iterator[Finding]:
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


def _check_students(case: Case) -> Iterator[Finding]:
    """Students of which core has no network, and few-step files of which nothing is known."""
    files = {file.node.id: file for use in case.survey.samplers for file in use.model.files}
    for file in files.values():
        found = case.knowledge.students.recognise(file.name).students
        if len(found) == 1 and found[0].cannot_run:
            yield _report_cannot_run(file, found[0])
        elif not found:
            yield from _report_unknown(case, file)


def _report_cannot_run(file: LoadedFile, student: KnownStudent) -> Finding:
    source = "; ".join(map(str, student.sources[:2]))
    message = f"{file.name}: {student.cannot_run}"
    return Finding("cannot-run", WRONG, file.node.id, file.node.title, message, source)


def _report_unknown(case: Case, file: LoadedFile) -> Iterator[Finding]:
    why = case.knowledge.students.explain_unknown(file.name)
    if why:
        yield Finding("unknown-student", NOTE, file.node.id, file.node.title, f"{file.name}: {why}")
