"""What a batch costs beside its images: a stub in place of the models, thousands of rows, a break, a million planned.

    python -m wan_lite.benchmarks.batches [--rows 10000] [--plan 1000000]

Prints the time a row, the growth of this process's memory between the first tenth and the end, the time to go on after
a break, and time, memory and manifest size of a long plan.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from ..batches.engine import worker
from ..batches.engine.engines import Workplace
from ..batches.engine.groups import Group, Rows, list_groups
from ..batches.engine.run import BatchPlan, run_batch
from ..batches.manifest import Manifest, Record
from ..batches.rows import RowFile

__all__ = ["main"]

CONSTANTS = {"student": __file__, "vae": __file__, "embeds": f"{__file__}:0"}


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows that are run with a stub (default: 10000)")
    parser.add_argument("--plan", type=int, default=1_000_000, help="rows that are only planned (default: 1000000)")
    options = parser.parse_args()
    worker.Worker._sample = _write_stubs  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        print(
            json.dumps(
                {"run": measure_run(Path(folder), options.rows), "plan": measure_plan(Path(folder), options.plan)},
                indent=1,
            )
        )
    return 0


def measure_run(folder: Path, count: int) -> dict[str, float]:
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
    return {
        "rows": count,
        "milliseconds a row": round(1000 * seconds / len(memory), 2),
        "MiB gained after the first tenth": round((max(seen) - max(seen[: len(seen) // 10])) / 2**20, 1),
        "seconds until the first row after a break": round(resumed[0], 2),
    }


def measure_plan(folder: Path, count: int) -> dict[str, float]:
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
    return {
        "rows": done,
        "groups": groups,
        "seconds to plan": round(planned, 1),
        "seconds to open the manifest": round(opened, 1),
        "MiB of the manifest": round((folder / "long" / "manifest.jsonl").stat().st_size / 2**20, 1),
        "MiB gained": round((psutil.Process().memory_info().rss - before) / 2**20, 1),
    }


def _write_rows(folder: Path, count: int) -> RowFile:
    path = folder / f"rows{count}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("seed,steps\n")
        file.writelines(f"{index},{4 + index % 3}\n" for index in range(count))
    return RowFile(path)


def _write_stubs(self: Any, group: Group) -> Iterator[tuple[str, dict[str, Any]]]:
    from ..atomic import replacing

    for row, _, _ in group.rows:
        with replacing(self.folder / f"{row.name}.png") as part:
            part.write_bytes(b"image")
        yield f"{row.name}.png", {"seed": row.index}


if __name__ == "__main__":
    sys.exit(main())
