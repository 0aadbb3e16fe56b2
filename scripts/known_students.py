"""Write ``docs/known-students.md`` from the data file of known students and from computed levels.

    python scripts/known_students.py [--check]

With ``--check`` nothing is written, and the exit code is 1 when the page is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wan_lite.check.levels.sampling import DiscreteFlow
from wan_lite.check.levels.schedulers import schedule_levels
from wan_lite.models.known_students import KnownStudent, KnownStudents, load_known_students
from wan_lite.pipeline.known import describe_core, describe_update
from wan_lite.samplers.formatting import format_timesteps

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "known-students.md"
DATA = ROOT / "models" / "known_students" / "known_students.json"
HEAD = """# Which sampler for which few-step student

Made by `python scripts/known_students.py` from `models/known_students/known_students.json`; `wan-lite known NAME`
prints one of them. Each of these students was trained on a handful of levels and on no others. *Wan Lite Contract
Sampling* takes them from the contract, which it finds by itself. Without it, the column of ComfyUI's core has settings
that visit the same levels (core feeds 1000 times the level, where some students were fed whole numbers), and the last
column how far other settings are from them: the largest difference of a level, or "other number of steps".

| student | calls | levels (then 0) | the network is fed | update | cfg | ComfyUI's core | other settings |
|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    """Write or check the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    options = parser.parse_args()
    text = make_page(load_known_students(DATA))
    is_stale = not PAGE.is_file() or PAGE.read_text("utf-8") != text
    if is_stale and not options.check:
        PAGE.write_text(text, "utf-8")
    return int(is_stale and options.check)


def make_page(students: KnownStudents) -> str:
    """Return the whole page."""
    runnable = [student for student in students.students.values() if student.contract() is not None]
    rows = "".join(f"| {' | '.join(_write_row(student))} |\n" for student in runnable)
    details = "\n".join(_describe_details(student) for student in students.students.values())
    unknown = "".join(f"- {why}\n" for _, why in students.unknown)
    return f"{HEAD}{rows}\n## One by one\n{details}\n## Of which nothing is known\n\n{unknown}"


def _write_row(student: KnownStudent) -> Iterator[str]:
    contract = student.contract()
    assert contract is not None
    schedule = contract.schedule()
    yield f"`{student.id}`"
    yield str(contract.steps)
    yield ", ".join(f"{sigma:.5g}" for sigma in schedule.sigma_values[:-1])
    yield format_timesteps(schedule).strip("[]")
    yield describe_update(contract)
    yield f"{contract.cfg:g}"
    yield "no network" if student.cannot_run else describe_core(student) if student.core else "none"
    yield "<br>".join(_describe_distance(recipe, schedule.sigma_values) for recipe in student.recipes)


def _describe_distance(recipe: Mapping[str, Any], sigmas: tuple[float, ...]) -> str:
    levels = schedule_levels(recipe["scheduler"], recipe["steps"], DiscreteFlow(recipe["shift"]))
    name = f"{recipe['scheduler']} {recipe['steps']}, shift {recipe['shift']:g}"
    if len(levels) != len(sigmas):
        return f"{name}: other number of steps"
    largest = max(abs(level - sigma) for level, sigma in zip(levels, sigmas, strict=True))
    return f"{name}: {largest:.2g}" if largest > 1e-6 else f"{name}: 0"


def _describe_details(student: KnownStudent) -> str:
    lines = [f"\n### `{student.id}`\n", f"{student.title}. Of {', '.join(student.of)}."]
    lines += [f"\nNot in ComfyUI's core: {student.cannot_run}"] * bool(student.cannot_run)
    lines += ["", *(f"- Also legitimate: {other.why}." for other in student.alternatives)]
    lines += [f"- Seen as {_name(recipe)}: {recipe['seen']}." for recipe in student.recipes if "seen" in recipe]
    lines += [f"- {remark}" for remark in student.remarks]
    return "\n".join([*lines, *(f"- Source: {source}" for source in student.sources)])


def _name(recipe: Mapping[str, Any]) -> str:
    return f"{recipe['scheduler']}, {recipe['steps']} steps, shift {recipe['shift']:g}"


if __name__ == "__main__":
    sys.exit(main())
