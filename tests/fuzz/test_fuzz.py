"""Mutated files of every kind that a loader takes: loaded or refused in one sentence, quickly and in little memory.

`make test` loads some hundred of them, `make soak` 50,000; ``WAN_LITE_FUZZ_SEED`` chooses others.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fuzz.run import SHARES, TESTS, fuzz, share_out

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SHORT, LONG, COVERAGE_GUIDED = 400, 50_000, 1_000
SEED = int(os.environ.get("WAN_LITE_FUZZ_SEED", "0"))


@pytest.mark.parametrize("target", SHARES)
def test_some_mutants(target: str) -> None:
    report = fuzz(target, SEED, share_out(SHORT, list(SHARES))[target])
    assert not report.findings, "\n".join([str(report), *report.findings])


@pytest.mark.soak
@pytest.mark.parametrize("target", SHARES)
def test_many_mutants(target: str) -> None:
    report = fuzz(target, SEED + 1, share_out(LONG, list(SHARES))[target])
    assert not report.findings, "\n".join([str(report), *report.findings])


@pytest.mark.soak
@pytest.mark.parametrize("target", SHARES)
def test_mutants_that_follow_coverage(target: str) -> None:
    pytest.importorskip("atheris", reason="needs atheris: pip install wan-lite[fuzz]")
    command = [sys.executable, "-m", "fuzz.coverage_guided", target, f"-runs={COVERAGE_GUIDED}", f"-seed={SEED + 1}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
