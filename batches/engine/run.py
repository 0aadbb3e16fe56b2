"""A file of rows through an engine: what is wrong is said before the work, and what was done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..manifest import Manifest, Record, RunSummary
from ..rows import RowFile, RowsError
from .engines import Workplace, run_here, run_in_processes, run_on_ray
from .groups import Group, Rows, list_groups

__all__ = ["BatchPlan", "Engine", "run_batch"]

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class BatchPlan:
    """What to run.

    Attributes:
        rows: One image or rollout each.
        place: Where they run.
        engine: ``local`` runs a process for each device (none of its own for a single one), ``ray`` a cluster.
        constants: Columns that every row has unless it says otherwise.
        batch: Rows that run together, at most. It is part of the result: another one changes the last digits.
        retry: Whether rows that failed before are run again.
    """

    rows: RowFile
    place: Workplace
    engine: Engine = "local"
    constants: Mapping[str, str] = field(default_factory=dict)
    batch: int = 4
    retry: bool = False


def run_batch(plan: BatchPlan, on_row: Callable[[Record], None] = lambda _: None) -> RunSummary:
    """Run every row that its manifest does not yet know, and write results and manifest.

    Args:
        plan: What to run.
        on_row: Called with what became of each row.

    Raises:
        RowsError: A row cannot be run, or a file that it names is not there: before any work.
        ManifestError: The folder belongs to other rows.
        ValueError: The engine is not installed.
    """
    rows = Rows(plan.rows, plan.constants, plan.batch)
    _check_rows(rows)
    summary = RunSummary()
    engine = run_on_ray if plan.engine == "ray" else run_here if len(plan.place.devices) == 1 else run_in_processes
    with Manifest(plan.place.folder, plan.rows.count) as manifest:
        for records in engine(_list_open(rows, manifest, plan, summary), plan.place):
            for record in records:
                if not manifest.is_settled(record.row, record.key, retry=plan.retry):
                    manifest.add(record)
                    summary.note(record)
                    on_row(record)
    return summary


def _check_rows(rows: Rows) -> None:
    """Read every row once, and look for the files that they name."""
    looked: set[str] = set()
    for group in list_groups(rows):
        for row, job, _ in group.rows:
            missing = [path for path in job.files if path not in looked and not Path(path).exists()]
            if missing:
                raise RowsError(f"line {row.line}: {missing[0]} is not there; check the name and the folder.")
            looked.update(job.files)


def _list_open(rows: Rows, manifest: Manifest, plan: BatchPlan, summary: RunSummary) -> Iterator[Group]:
    """Yield the groups with a row that is still to be run: whole, so that its batch is the same as ever."""
    for group in list_groups(rows):
        settled = sum(manifest.is_settled(row.index, key, retry=plan.retry) for row, _, key in group.rows)
        summary.skipped += settled
        if settled < len(group.rows):
            yield group
