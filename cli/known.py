"""``wan-lite known``: the few-step students of other projects, and how each was trained to be sampled."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .terminal import say

if TYPE_CHECKING:
    from ..models.known_students import KnownStudent, KnownStudents

__all__ = ["add_known", "run_known"]


def add_known(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``known``."""
    parser.add_argument("name", nargs="?", help="a known student, or the name or path of a file; none lists them all")
    parser.add_argument(
        "--names", type=Path, metavar="FILE|FOLDER",
        help="list which model files are known students: of a workflow, or in a folder of models or workflows",
    )  # fmt: skip
    parser.add_argument(
        "--file", type=Path, metavar="JSON", help="your own entries, instead of where they are looked for"
    )
    parser.add_argument("--json", action="store_true", help="print contracts as JSON")
    parser.set_defaults(run=run_known)


def run_known(options: argparse.Namespace) -> None:
    """Print all known students, one of them, or what the names of files say."""
    from ..models.known_students import load_known_students
    from ..pipeline.known import describe_student, search_student

    students = load_known_students(options.file)
    if options.names is not None:
        _print_names(options.names, students)
        return
    found = search_student(options.name, students) if options.name else tuple(students.students.values())
    if options.json:
        print(json.dumps([_to_dict(student) for student in found], indent=1))
    elif options.name:
        say("\n\n".join(map(describe_student, found)))
    else:
        _print_list(found)


def _print_list(students: tuple[KnownStudent, ...]) -> None:
    from ..samplers.formatting import format_timesteps

    width = max((len(student.id) for student in students), default=0)
    for student in students:
        contract = student.contract()
        how = "no contract can say it"
        if contract is not None:
            how = f"{contract.solver:<10}  {format_timesteps(contract.schedule())}"
        say(f"{student.id:<{width}}  {how}" + (" (not in ComfyUI's core)" if student.cannot_run else ""))


def _print_names(path: Path, students: KnownStudents) -> None:
    from ..pipeline.known import find_model_names, recognise_all

    found, others = recognise_all(find_model_names(path), students)
    say(f"known students ({len(found)}):")
    for row in found:
        ids = " or ".join(student.id for student in row.found.students)
        say(f"  {row.name}  {ids}" + (f" ({row.found.role}-noise expert)" if row.found.role else ""))
    say(f"others ({len(others)}):")
    for row in others:
        why = students.explain_unknown(row.name)
        say(f"  {row.name}" + (f"  ({why})" if why else ""))


def _to_dict(student: KnownStudent) -> dict[str, object]:
    contract = student.contract()
    return {
        "id": student.id,
        "title": student.title,
        "contract": None if contract is None else json.loads(contract.to_json()),
        "cannot_run": student.cannot_run or None,
        "sources": list(map(str, student.sources)),
        "remarks": list(student.remarks),
    }
