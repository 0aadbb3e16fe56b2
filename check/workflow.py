"""Checking a workflow file: read it, follow what reaches each sampler, and compare with how the models were trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..printable import make_line
from .graph.files import read_document
from .graph.graph import Graph, NoWorkflowError, WorkflowError
from .graph.read import read_graph
from .knowledge import Knowledge
from .report import NOTE, SEVERITIES, Change, Finding, Report, SamplerReport
from .rules import RULES, Case
from .trace.follow import CannotTell, Value
from .trace.models import ModelTrace
from .trace.runs import find_runs
from .trace.samplers import SamplerUse, Survey, survey

__all__ = ["check_graph", "check_workflow"]

LONGEST_TITLE, LONGEST_MESSAGE = 120, 1500
LARGEST_NUMBER = 1e300  # JSON has no infinity
MOST_ATTEMPTS = 4  # at finding out which remedies work together


def check_workflow(path: str | os.PathLike[str], knowledge: Knowledge | None = None) -> Report:
    """Return what a workflow file will sample, and where that contradicts the models that it loads.

    Args:
        path: A file of JSON (the page's own format or the API format), or an image or video that carries one.
        knowledge: What is known of model files; None knows the published students by the names of their files.

    Returns:
        A report; its ``error`` says in one sentence why a file could not be read.

    Raises:
        OSError: The file cannot be opened.
    """
    path = Path(path)
    try:
        return _report(path, read_document(path).content, knowledge)
    except WorkflowError as error:
        return Report(path, error=make_line(str(error)), is_workflow=not isinstance(error, NoWorkflowError))
    except RecursionError:
        return Report(path, error="its nodes follow each other in a chain that is too long to be followed.")


def check_graph(document: Mapping[str, Any], knowledge: Knowledge | None = None) -> Report:
    """Return the same of a document that is loaded already.

    Raises:
        WorkflowError: It is not a workflow.
    """
    return _report(Path(), document, knowledge)


def _report(path: Path, document: Mapping[str, Any], knowledge: Knowledge | None) -> Report:
    graph, knowledge = read_graph(document), knowledge or Knowledge()
    found = survey(graph, knowledge)
    findings = _keep_what_mends(graph, _find(found, knowledge), knowledge)
    order = {node: index for index, node in enumerate(graph.nodes)}
    findings.sort(key=lambda finding: (SEVERITIES.index(finding.severity), order.get(finding.node, len(order))))
    return Report(path, tuple(map(_report_sampler, found.samplers)), tuple(map(_show, findings)))


def _show(finding: Finding) -> Finding:
    """Make what a file says safe to show; node ids stay as they are, for those who look for the node."""
    title, message = make_line(finding.title, LONGEST_TITLE), make_line(finding.message, LONGEST_MESSAGE)
    return replace(finding, title=title, message=message, remedy=make_line(finding.remedy, LONGEST_MESSAGE))


def _find(found: Survey, knowledge: Knowledge) -> list[Finding]:
    case = Case(found, knowledge, find_runs(found.samplers))
    findings = [finding for rule in RULES for finding in rule(case)]
    return list({(f.id, f.node, f.message): f for f in findings}.values())


def _keep_what_mends(graph: Graph, findings: list[Finding], knowledge: Knowledge) -> list[Finding]:
    """Take the changes from findings that are still there, or bring others, when all changes are made."""
    for _ in range(MOST_ATTEMPTS):
        mendable = [finding for finding in findings if finding.is_mendable]
        if not mendable:
            break
        changed = _apply_changes(graph, [change for finding in mendable for change in finding.changes])
        left = {(f.id, f.node) for f in _find(survey(changed, knowledge), knowledge) if f.severity != NOTE}
        useless = [f for f in mendable if (f.id, f.node) in left]
        new = left - {(f.id, f.node) for f in findings}
        useless = useless or (mendable if new else [])
        if not useless:
            break
        findings = [replace(finding, changes=()) if finding in useless else finding for finding in findings]
    return findings


def _apply_changes(graph: Graph, changes: list[Change]) -> Graph:
    """Return the graph with values changed, wherever a value stands in the same place of the file."""
    values = {change.path: change.value for change in changes}
    nodes = {}
    for node in graph:
        new = {name: values[path] for name, path in node.paths.items() if path in values}
        nodes[node.id] = replace(node, inputs={**node.inputs, **new}) if new else node
    return Graph(nodes)


def _report_sampler(use: SamplerUse) -> SamplerReport:
    timesteps = use.timesteps
    return SamplerReport(
        node=use.node.id,
        title=make_line(use.node.title, LONGEST_TITLE),
        sigmas=use.sigmas.levels,
        timesteps=None if timesteps is None else tuple(timesteps),
        unknown=make_line(use.sigmas.reason),
        sampler=make_line(use.rule.name, LONGEST_TITLE) if use.rule else "",
        model=make_line(" + ".join(file.name for file in use.model.files)),
        shift=_get_shift(use.sigmas.model or use.model),
        cfg=_get_number(use.cfg),
        seed=_get_seed(use.seed),
    )


def _get_shift(model: ModelTrace) -> float | None:
    sampling = model.sampling
    shift = None if isinstance(sampling, CannotTell) else getattr(sampling, "shift", None)
    return shift if shift is not None and abs(shift) <= LARGEST_NUMBER else None


def _get_number(value: Value | None) -> float | None:
    is_number = value is not None and isinstance(value.value, int | float) and abs(value.value) <= LARGEST_NUMBER
    return float(value.value) if value is not None and is_number else None


def _get_seed(value: Value | None) -> int | None:
    return value.value if value is not None and isinstance(value.value, int) else None
