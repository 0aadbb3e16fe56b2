"""Mutants by the thousand: child processes load them, and each that dies, hangs or takes too much is a finding.

``python -m fuzz.run SEED COUNT [TARGET ...]`` from the folder ``tests`` prints a line for each kind of file and each
finding; ``COUNT`` mutants are made in all.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.listening import MOST_SECONDS, Child

TESTS = Path(__file__).resolve().parents[1]
SHARES = {
    "vae": 12, "vae folder": 8, "student": 10, "student folder": 10, "world": 6, "world parts": 6, "world folder": 2,
    "embeds": 8, "pickle": 12, "lora": 10, "contract": 8, "known students": 4, "session": 8, "workflow": 10,
    "clip": 10,
}  # fmt: skip
"""Of all mutants, by kind of file."""
MOST_BYTES = 200 * 10**6
"""Beyond the files, in memory."""
_BATCH = 500  # mutants of one process


@dataclass
class Report:
    """What became of the mutants of one kind of file."""

    target: str
    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    most_bytes: int = 0
    most_seconds: float = 0.0

    def add(self, seed: int, answer: dict[str, Any]) -> None:
        """Take in what a child says of one mutant."""
        kind, number = answer["kind"], answer["end"]
        self.kinds[kind] += 1
        self.most_bytes = max(self.most_bytes, answer.get("bytes", 0))
        self.most_seconds = max(self.most_seconds, answer.get("seconds", 0.0))
        if answer.get("bytes", 0) > MOST_BYTES:
            kind = f"took {answer['bytes'] / 1e6:.0f} MB"
        elif answer.get("seconds", 0.0) > MOST_SECONDS:
            kind = f"took {answer['seconds']:.1f} s"
        elif kind in ("loaded", "refused"):
            return
        self.findings.append(f"{self.target!r} {seed} {number}: {kind}: {answer['message']}")

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"{self.target}: {counts}; {len(self.findings)} findings; at most {self.most_bytes / 1e6:.0f} MB and "
            f"{self.most_seconds:.2f} s of processor time"
        )


def share_out(count: int, targets: list[str]) -> dict[str, int]:
    """Return how many mutants each kind of file gets of ``count``."""
    whole = sum(SHARES[target] for target in targets)
    return {target: max(1, -(-count * SHARES[target] // whole)) for target in targets}


def fuzz(target: str, seed: int, count: int) -> Report:
    """Load ``count`` mutants of one kind of file in child processes."""
    report, first = Report(target), 0
    while first < count:
        first = _run_batch(report, seed, first, min(_BATCH, count - first))
    return report


def _run_batch(report: Report, seed: int, first: int, count: int) -> int:
    """Run one child; return the number of the next mutant, which is the one after a child's last where it dies."""
    command = [sys.executable, "-m", "fuzz.child", report.target, str(seed), str(first), str(count)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    with tempfile.TemporaryFile() as log, Child(command, TESTS, environment, log) as child:
        last, done = first - 1, first - 1
        for answer in child.listen():
            if "start" in answer:
                last = answer["start"]
            else:
                report.add(seed, answer)
                done = answer["end"]
        if child.end() == 0:
            return first + count
        log.seek(0)
        said = log.read().decode(errors="replace")[-3000:]
    if last == done:
        raise RuntimeError(f"a child {child.ending} between mutants, after {done}: {said}")
    report.add(seed, {"end": last, "kind": f"the process {child.ending}", "message": said})
    return last + 1


def main() -> int:
    """Run and print; the result is the number of findings, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("targets", nargs="*", default=list(SHARES))
    options = parser.parse_args()
    reports = []
    for target, count in share_out(options.count, options.targets).items():
        reports.append(fuzz(target, options.seed, count))
        sys.stdout.write("\n".join([str(reports[-1]), *reports[-1].findings]) + "\n")
        sys.stdout.flush()
    found = sum(len(report.findings) for report in reports)
    sys.stdout.write(f"{sum(sum(report.kinds.values()) for report in reports)} mutants, {found} findings\n")
    return min(1, found)


if __name__ == "__main__":
    sys.exit(main())
