"""A few-step student's run against its training: levels, spacing, update, guidance, strength, experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..report import DOUBTFUL, NOTE, WRONG, Finding, show, show_all
from ..trace.models import LoadedFile
from ..trace.runs import Run
from ..trace.samplers import SamplerUse
from ..training import Training
from .case import Case, change_to, finding_at, number_of, only, plain
from .recipes import find_recipe
from .settings import check_guidance, check_strength, check_update, name_solver

__all__ = ["check_students"]

SAME = 0.002
"""Levels nearer than this count as the trained ones: float32 tables and rounded ManualSigmas differ by less."""

FAR = 0.05
"""From here on another level is wrong rather than doubtful."""


@dataclass(frozen=True)
class _Part:
    """The samplers of a run whose MODEL holds one student, with the file that each loads it from."""

    run: Run
    uses: tuple[SamplerUse, ...]
    files: tuple[LoadedFile, ...]


def check_students(case: Case) -> Iterator[Finding]:
    """Compare every run with the students on its models."""
    for run in case.runs:
        for part, candidates in _list_parts(case, run):
            yield from _judge_best(part, candidates)
        yield from _check_several(case, run)


def _list_parts(case: Case, run: Run) -> Iterator[tuple[_Part, list[list[Training]]]]:
    """Yield the students of a run; the two experts' files are one student."""
    found: dict[tuple[str, ...], list[tuple[SamplerUse, LoadedFile, list[list[Training]]]]] = {}
    for use in run.samplers:
        for file, candidates in case.trainings(use.model):
            key = tuple(ways[0].family for ways in candidates)
            found.setdefault(key, []).append((use, file, candidates))
    for entries in found.values():
        part = _Part(run, tuple(use for use, _, _ in entries), tuple(file for _, file, _ in entries))
        yield part, entries[0][2]


def _judge_best(part: _Part, candidates: list[list[Training]]) -> list[Finding]:
    """Return the findings of that way of training which the run contradicts least."""
    judged = [(list(_judge(part, way)), way) for ways in candidates for way in ways]
    best, way = min(judged, key=lambda pair: _count_severities(pair[0]))
    ways = [other for options in candidates for other in options if other is not way]
    if len(candidates) > 1:
        names = ", ".join(options[0].family for options in candidates)
        best = [replace(f, severity=DOUBTFUL if f.severity == WRONG else f.severity) for f in best]
        best = [replace(f, message=f"{f.message} The name {part.files[0].name} may mean {names}.") for f in best]
    elif ways and best:
        others = "; ".join(f"{name_solver(other)} ({other.why})" for other in ways if other.why)
        best = [replace(f, message=f"{f.message} As legitimate: {others}.") if others else f for f in best]
    return best


def _count_severities(findings: list[Finding]) -> tuple[int, int, int]:
    severities = [finding.severity for finding in findings]
    return severities.count(WRONG), severities.count(DOUBTFUL), len(findings)


def _judge(part: _Part, way: Training) -> Iterator[Finding]:
    yield from _check_levels(part, way)
    yield from _check_experts(part, way)
    for use, file in zip(part.uses, part.files, strict=True):
        yield from check_update(use, way)
        yield from check_guidance(use, way)
        yield from check_strength(use, file, way)


def _check_levels(part: _Part, way: Training) -> Iterator[Finding]:
    use = part.uses[0]
    visited = _list_visited(part)
    trained = _list_trained(part, way)
    if visited is None or not visited or not trained:
        return
    if use.rule is not None and use.rule.ignores_levels:
        return
    if not way.is_few_step:
        yield from _check_shift(part, way)
        return
    severity = _compare(visited, trained)[1]
    if severity is None:
        yield from _check_timesteps(part, way)
        return
    yield _report_levels(part, way, visited, severity)


def _report_levels(part: _Part, way: Training, visited: Sequence[float], severity: str) -> Finding:
    """Say which levels are visited, which were trained, and what to change."""
    trained = _list_trained(part, way)
    worst = _compare(visited, trained)[0]
    count = "" if len(visited) == len(trained) else f"{len(visited)} levels instead of {len(trained)}, "
    message = (
        f"{_name_samplers(part)} visits {show_all(visited)} (timesteps {show_all(1000 * level for level in visited)}), "
        f"but {way.title} was trained at {show_all(trained)} ({show_all(way.timesteps_at(trained))}): {count}up to "
        f"{show(worst)} off."
    )
    return _report_with_recipe(part, way, _name_kind(part, way, visited), severity, message)


def _report_with_recipe(part: _Part, way: Training, id: str, severity: str, message: str) -> Finding:
    recipe = find_recipe(part.run, part.uses, way)
    return finding_at(
        part.uses[0], id, severity, message, source=way.source, remedy=recipe.text, changes=recipe.value_changes
    )


def _list_trained(part: _Part, way: Training) -> list[float]:
    """Return the levels that were trained for a part's experts; the guider of two experts runs both."""
    if any(use.low_expert is not None for use in part.uses):
        return list(way.levels)
    return way.levels_of({_find_role(way, file) for file in part.files})


def _check_shift(part: _Part, way: Training) -> Iterator[Finding]:
    """A contract that leaves the steps to the user still has a shift."""
    use, wanted = part.uses[0], float(way.fields.get("shift", 1.0))
    typed = use.values.get("shift")
    sampling = use.sigmas.model.sampling if use.sigmas.model else None
    shift = typed.value if typed else getattr(sampling, "shift", None)
    if not isinstance(shift, int | float) or abs(shift - wanted) < 1e-6 or use.sigmas.contract is not None:
        return
    message = f"{_name_samplers(part)} has shift {show(shift)}; {way.title} says {show(wanted)}."
    yield finding_at(
        use, "levels-differ", WRONG, message, source=way.source, remedy=f"Set shift to {show(wanted)}.",
        changes=only(change_to(typed, plain(wanted))),
    )  # fmt: skip


def _compare(visited: Sequence[float], trained: Sequence[float]) -> tuple[float, str | None]:
    """Return the largest difference and its severity (None: the same levels)."""
    if len(visited) == len(trained):
        worst = max(abs(a - b) for a, b in zip(visited, trained, strict=True))
        return worst, None if worst <= SAME else DOUBTFUL if worst <= FAR else WRONG
    worst = max(min(abs(level - one) for one in trained) for level in visited)
    return worst, WRONG if worst > FAR else DOUBTFUL


def _name_kind(part: _Part, way: Training, visited: Sequence[float]) -> str:
    """Say which widget is the reason, where one is."""
    values = part.uses[0].sigmas.values
    if _get_denoise(part) < 1 and visited[0] < way.levels[0] - SAME:
        return "denoise-below-one"
    wanted = way.core.get("scheduler")
    scheduler = values.get("scheduler")
    same_steps = "steps" in values and values["steps"].value == way.core.get("steps")
    if scheduler is not None and wanted not in (None, "manual") and scheduler.value != wanted and same_steps:
        return "schedule-spacing"
    return "levels-differ"


def _get_denoise(part: _Part) -> float:
    found = number_of(part.uses[0].sigmas.values.get("denoise"))
    return 1.0 if found is None else found


def _check_timesteps(part: _Part, way: Training) -> Iterator[Finding]:
    """The levels are right; say where the network is still fed other timesteps than in training."""
    fed = [t for use in part.uses for t in use.timesteps or []]
    trained = dict(zip(way.levels, way.timesteps, strict=True))
    expected = [trained[min(trained, key=lambda one: abs(one - level))] for level in _list_visited(part) or []]
    sampling = part.uses[0].model.sampling
    if len(fed) != len(expected) or getattr(sampling, "multiplier", 0) != 1000:
        return
    worst = max((abs(a - b) for a, b in zip(fed, expected, strict=True)), default=0)
    if way.fields.get("timestep_cast") in ("table", "int64_trunc", "bf16") and worst > 1e-3:
        message = f"feeds {show_all(fed)} where training fed {show_all(expected)}; core feeds 1000 times the level."
        remedy = "Sample through Wan Lite Contract Sampling, which feeds the trained timesteps."
        yield finding_at(
            part.uses[0],
            "integer-timesteps",
            NOTE,
            f"{_name_samplers(part)} {message}",
            source=way.source,
            remedy=remedy,
        )


def _check_experts(part: _Part, way: Training) -> Iterator[Finding]:
    """Levels on the wrong side of the boundary between two experts."""
    if way.boundary is None or len(part.run.samplers) < 2:
        return
    for use, file in zip(part.uses, part.files, strict=True):
        role = _find_role(way, file)
        beyond = _measure_beyond(use, role, way.boundary)
        if role is not None and beyond:
            yield _report_wrong_side(part, use, role, beyond, way)


def _measure_beyond(use: SamplerUse, role: str | None, edge: tuple[float, float]) -> list[float]:
    """Return how far the levels of an expert lie on the other one's side."""
    if role == "high":
        return [edge[0] - level for level in use.levels or () if level < edge[0] - SAME]
    return [level - edge[1] for level in use.levels or () if level > edge[1] + SAME]


def _report_wrong_side(part: _Part, use: SamplerUse, role: str, beyond: list[float], way: Training) -> Finding:
    assert way.boundary is not None
    side = "below" if role == "high" else "above"
    message = (
        f"The {role}-noise expert visits {show_all(use.levels or ())}; {way.title} hands over at "
        f"{show(way.boundary[0])}: {len(beyond)} of its levels lie {side} it, by up to {show(max(beyond))}."
    )
    severity = WRONG if max(beyond) > FAR else DOUBTFUL
    found = _report_with_recipe(part, way, "expert-boundary", severity, message)
    return replace(found, node=use.node.id, title=use.node.title)


def _check_several(case: Case, run: Run) -> Iterator[Finding]:
    for use in run.samplers:
        found = [ways[0] for _, candidates in case.trainings(use.model) for ways in candidates[:1]]
        if len({way.family for way in found}) > 1:
            names = " and ".join(f"{way.file.name} ({way.title})" for way in found)
            message = f"The model of this sampler holds several few-step students: {names}; each was trained alone."
            yield finding_at(use, "several-students", DOUBTFUL, message, remedy="Keep one of them.")


def _find_role(way: Training, file: LoadedFile) -> str | None:
    from ...models.known_students import expert_role

    return expert_role(file.name) if way.boundary else None


def _list_visited(part: _Part) -> list[float] | None:
    found = [use.levels for use in part.uses]
    return None if None in found else [level for levels in found if levels for level in levels]


def _name_samplers(part: _Part) -> str:
    return (
        "The run of nodes " + " and ".join(use.node.id for use in part.uses) if len(part.uses) > 1 else "This sampler"
    )
