"""Write what the check finds in ComfyUI's own workflow templates: a page in ``docs/`` and a record for the tests.

    python scripts/templates_checked.py

Reads the installed ``comfyui_workflow_templates_json``; keeps names, node ids and kinds of findings, nothing else.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from host.comfyui import find_comfyui
from host.server import PACK, VECTORS
from host.templates import find_templates
from wan_lite.check import Report, check_workflow
from wan_lite.check.knowledge import Knowledge
from wan_lite.check.report import SEVERITIES

PAGE = PACK / "docs" / "templates-checked.md"
RECORD = VECTORS / "check" / "findings.json"
INTRODUCTION = """# ComfyUI's own templates, checked

What `wan-lite check` says of the workflow templates that are installed with ComfyUI ({package} {version}). Nothing was
run: the noise levels follow from the files. "Wrong" means that a file contradicts how the weights that it loads were
trained, or that a setting in it cannot have an effect; it does not mean that the result looks bad. Many templates use a
few-step LoRA as an accelerator rather than as it was trained, with steps, sampler and strength that their authors found
to look well. Branches that a switch leaves out are not sampled and not judged.

| | |
|---|---|
| templates read | {read} |
| that could not be read | {unread} |
| samplers in them | {samplers} |
| of which the levels could be told | {told} |
| templates that sample with weights of a known few-step student | {known} |
| templates with something wrong | {wrong} |
| with something doubtful and nothing wrong | {doubtful} |

## Findings by kind

| finding | severity | times |
|---|---|---|
{kinds}

## Templates with findings

| template | wrong | doubtful |
|---|---|---|
{rows}

`wan-lite check --explain ID` says what a finding means. This page is written by `scripts/templates_checked.py`.
"""


def main() -> int:
    """Write page and record; returns the exit code."""
    knowledge = Knowledge()
    reports = {path.stem: check_workflow(path, knowledge) for path in find_templates(find_comfyui())}
    judged = {name: report for name, report in reports.items() if report.severities & {"wrong", "doubtful"}}
    PAGE.write_text(page(reports, judged, count_known(reports, knowledge)), "utf-8")
    lines = [f"{json.dumps(name)}: {json.dumps(found(report))}" for name, report in sorted(judged.items())]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    return 0


def found(report: Report) -> list[list[str]]:
    """Return the findings that are wrong or doubtful as [severity, kind, node]."""
    return sorted([f.severity, f.id, f.node] for f in report.findings if f.severity != "note")


def count_known(reports: dict[str, Report], knowledge: Knowledge) -> int:
    """Return how many templates sample with weights that are recognised."""
    names = [[name for s in report.samplers for name in s.model.split(" + ")] for report in reports.values()]
    return sum(any(knowledge.students.recognise(name).students for name in some if name) for some in names)


def page(reports: dict[str, Report], judged: dict[str, Report], known: int) -> str:
    """Return the page's text."""
    samplers = [sampler for report in reports.values() for sampler in report.samplers]
    kinds = Counter((f.severity, f.id) for report in reports.values() for f in report.findings)
    order = sorted(kinds, key=lambda kind: (SEVERITIES.index(kind[0]), -kinds[kind], kind[1]))
    wrong = [name for name, report in judged.items() if "wrong" in report.severities]
    rows = [
        f"| {name} | {kinds_of(report, 'wrong')} | {kinds_of(report, 'doubtful')} |"
        for name, report in sorted(judged.items())
    ]
    return INTRODUCTION.format(
        package="comfyui_workflow_templates_json",
        version=installed_version(),
        read=sum(not report.error for report in reports.values()),
        unread=sum(bool(report.error) for report in reports.values()),
        samplers=len(samplers),
        told=sum(sampler.sigmas is not None for sampler in samplers),
        known=known,
        wrong=len(wrong),
        doubtful=len(judged) - len(wrong),
        kinds="\n".join(f"| {id} | {severity} | {kinds[severity, id]} |" for severity, id in order),
        rows="\n".join(rows),
    )


def kinds_of(report: Report, severity: str) -> str:
    """Return the kinds of findings of one severity, each with how many times it occurs."""
    counts = Counter(f.id for f in report.findings if f.severity == severity)
    return ", ".join(id if count == 1 else f"{id} ({count})" for id, count in sorted(counts.items()))


def installed_version() -> str:
    """Return the version of the templates' package of the ComfyUI that is found."""
    folders = [str(path) for path in find_comfyui().python.parents[1].glob("lib/*/site-packages")]
    found = importlib.metadata.distributions(name="comfyui-workflow-templates-json", path=folders)
    return next((one.version for one in found), "of unknown version")


if __name__ == "__main__":
    sys.exit(main())
