"""What a batch costs beside its images: a stub in place of the models, ten thousand rows, a break, a long plan."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from ...batches.engine import worker
from ...batches.engine.engines import Workplace
from ...batches.engine.groups import Group, Rows, list_groups
from ...batches.engine.run import BatchPlan, run_batch
from ...batches.manifest import Manifest, Record
from ...batches.rows import RowFile
from ..bench import Bench, Case
from ..records import Figure, Outcome

__all__ = ["CASES"]

SECTION = "Batches"
ROWS, PLANNED = 10_000, 1_000_000

CONSTANTS = {"student": __file__, "vae": __file__, "embeds": f"{__file__}:0"}


def measure(bench: Bench) -> Outcome:
    """Run rows with a stub in place of the models, break off and continue; plan many more."""
    sample = worker.Worker._sample
    worker.Worker._sample = _write_stubs  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            figures = [*measure_run(Path(folder), 100 if bench.is_quick else ROWS)]
            figures += measure_plan(Path(folder), 1000 if bench.is_quick else PLANNED)
    finally:
        worker.Worker._sample = sample  # type: ignore[method-assign]
    return bench.conclude(figures=tuple(figures))


def measure_run(folder: Path, count: int) -> list[Figure]:
    """Run rows with the stub, break off after nine tenths, and go on."""
    plan = BatchPlan(_write_rows(folder, count), Workplace(folder / "out"), constants=CONSTANTS)
    memory: list[int] = []
    started = time.perf_counter()

    def count_row(record: Record) -> None:
        memory.append(psutil.Process().memory_info().rss if record.row % 100 == 0 else 0)
        if len(memory) == count * 9 // 10:
            raise KeyboardInterrupt

    try:
        run_batch(plan, count_row)
    except KeyboardInterrupt:
        seconds = time.perf_counter() - started
    resumed: list[float] = []
    started = time.perf_counter()
    run_batch(plan, lambda _: resumed.append(time.perf_counter() - started))
    seen = [value for value in memory if value]
    gained = (max(seen) - max(seen[: len(seen) // 10 + 1])) / 2**20
    return [
        Figure(f"a row of {count} beside its image", 1000 * seconds / len(memory), "ms"),
        Figure(f"memory gained after the first tenth of {count} rows", gained, "MiB"),
        Figure("until the first row after a break", resumed[0], "s"),
    ]


def measure_plan(folder: Path, count: int) -> list[Figure]:
    """Plan rows, and write and read their manifest, without running them."""
    rows, before, started = _write_rows(folder, count), psutil.Process().memory_info().rss, time.perf_counter()
    groups = sum(1 for _ in list_groups(Rows(rows, CONSTANTS, 4)))
    planned = time.perf_counter() - started
    (folder / "long").mkdir()
    with (folder / "long" / "manifest.jsonl").open("w", encoding="utf-8") as file:
        for index in range(count):
            entry = {"path": f"{index:06}.png", "sha256": "0" * 64}
            record = Record(index, f"{index:024x}", "done", (entry,), {"seed": index, **CONSTANTS}, "", {"seed": index})
            file.write(json.dumps(asdict(record)) + "\n")
    started = time.perf_counter()
    with Manifest(folder / "long", count) as manifest:
        opened = time.perf_counter() - started
        done = manifest.count_status("done")
    gained = (psutil.Process().memory_info().rss - before) / 2**20
    return [
        Figure(f"{done} rows planned in {groups} groups", planned, "s"),
        Figure(f"a manifest of {done} rows opened", opened, "s"),
        Figure(f"memory gained by planning {done} rows and opening their manifest", gained, "MiB"),
    ]


def _write_rows(folder: Path, count: int) -> RowFile:
    path = folder / f"rows{count}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("seed,steps\n")
        file.writelines(f"{index},{4 + index % 3}\n" for index in range(count))
    return RowFile(path)


def _write_stubs(self: Any, group: Group) -> Iterator[tuple[str, dict[str, Any]]]:
    from ...atomic import replacing

    for row, _, _ in group.rows:
        with replacing(self.folder / f"{row.name}.png") as part:
            part.write_bytes(b"image")
        yield f"{row.name}.png", {"seed": row.index}


CASES = [Case("batches", SECTION, measure)]
