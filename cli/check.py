"""``wan-lite check``: what workflow files will sample, and where that contradicts the models that they load."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .terminal import say

if TYPE_CHECKING:
    from ..check import Report
    from ..check.knowledge import Knowledge
    from ..check.report import Finding

__all__ = ["add_check", "run_check"]

FOUND, UNREADABLE = 1, 2
"""Exit codes: something wrong or doubtful was found; a file could not be read, whatever else."""


def add_check(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``check``."""
    parser.add_argument(
        "path", nargs="*", type=Path, metavar="FILE|FOLDER",
        help="a workflow (JSON), an image or a video that carries one, or a folder of them",
    )  # fmt: skip
    parser.add_argument(
        "--models", action="append", default=[], type=Path, metavar="FOLDER",
        help="where the model files lie, for the contracts in their headers (may be given again)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--fix", type=Path, metavar="OUT", help="write a copy with every remedy that is a value")
    parser.add_argument("--explain", metavar="ID", help="say what a kind of finding means ('all' lists them)")
    parser.set_defaults(run=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Check each file and print what was found; returns the exit code."""
    if options.explain is not None:
        from ..check.explanations import explain

        print(explain(options.explain))
        return 0
    files = list(_list_files(options.path))
    named = {path for path in options.path if not path.is_dir()}
    if options.fix is not None and len(files) != 1:
        raise ValueError(f"--fix writes one copy, but {len(files)} files are named; check them one at a time.")
    if not files:
        raise ValueError("no file is named; give a workflow, an image or video that carries one, or a folder.")
    from ..check.knowledge import Knowledge

    knowledge = Knowledge(models=options.models)
    reports = [report for file in files if (report := _report(file, knowledge)).is_workflow or file in named]
    if options.json:
        print(json.dumps({"files": [report.to_dict() for report in reports]}, indent=1))
    else:
        say("\n\n".join(_format_readable(report) for report in reports))
    if options.fix is not None:
        _mend(reports[0], options.fix)
    if any(report.error for report in reports):
        return UNREADABLE
    return FOUND if any(report.severities & {"wrong", "doubtful"} for report in reports) else 0


def _list_files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files; of a folder those below it that can be or carry a workflow."""
    from ..check.graph.files import SUFFIXES

    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        else:
            yield path


def _report(path: Path, knowledge: Knowledge) -> Report:
    from ..check import Report, check_workflow

    try:
        return check_workflow(path, knowledge)
    except OSError as error:
        return Report(path, error=f"it cannot be opened ({error.strerror or error}).")


def _mend(report: Report, out: Path) -> None:
    from ..check.fix import mend_file
    from ..check.graph.files import read_document

    if report.error:
        return
    mended = [finding for finding in report.findings if finding.is_mendable]
    mend_file(read_document(report.path), [change for finding in mended for change in finding.changes], out)
    left = [f for f in report.findings if f.remedy and not f.is_mendable and f.severity != "note"]
    said = f"{out}: {len(mended)} of {len(mended) + len(left)} findings mended"
    say(said + (f"; by hand: {', '.join(f'{f.id} at node {f.node}' for f in left)}" if left else ""), file=sys.stderr)


def _format_readable(report: Report) -> str:
    if report.error:
        return f"{report.path}: {report.error}"
    lines = [f"{report.path}: {_format_summary(report)}"]
    for sampler in report.samplers:
        lines.append(f"  {sampler.node}  {sampler.title}: {_format_sampling(sampler)}")
    for finding in report.findings:
        lines += _format_lines(finding)
    return "\n".join(lines)


def _format_sampling(sampler: object) -> str:
    from ..check.report import SamplerReport, show_all

    assert isinstance(sampler, SamplerReport)
    if sampler.sigmas is None:
        return f"levels cannot be told ({sampler.unknown})"
    fed = f"; timesteps {show_all(sampler.timesteps)}" if sampler.timesteps else ""
    return f"{sampler.sampler or 'a sampler'}, sigmas {show_all(sampler.sigmas)}{fed}"


def _format_summary(report: Report) -> str:
    from ..check.report import SEVERITIES

    counts = [(sum(f.severity == kind for f in report.findings), kind) for kind in SEVERITIES]
    found = ", ".join(f"{count} {kind}" for count, kind in counts if count)
    samplers = len(report.samplers)
    return f"{samplers} sampler{'' if samplers == 1 else 's'}, {found or 'nothing found'}"


def _format_lines(finding: Finding) -> list[str]:
    lines = [
        f"  [{finding.severity}] {finding.id} at node {finding.node} ({finding.title})",
        f"      {finding.message}",
    ]
    if finding.source:
        lines.append(f"      source: {finding.source}")
    if finding.remedy:
        lines.append(f"      remedy{'' if finding.is_mendable else ' (by hand)'}: {finding.remedy}")
    return lines
