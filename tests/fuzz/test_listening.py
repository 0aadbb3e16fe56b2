"""Children of the harness: lines are heard at once, and what hangs is told apart from what a busy machine holds up."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from fuzz import listening, run
from fuzz.listening import Watch
from fuzz.run import Report

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LINES = "\n".join(
    f'{{"{word}": {number}, "kind": "loaded", "message": ""}}' for number in (0, 1) for word in ("start", "end")
)
AT_ONCE = f"import os; os.write(1, {LINES.encode()!r} + b'\\n' + b'{{\"start\": 2}}\\n')\n"
"""A child that does two mutants so quickly that their lines, and the start of a third, come in one piece."""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a program in the place of the child."""

    def put(program: str) -> None:
        def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            return subprocess_popen([sys.executable, "-c", program], **options)

        subprocess_popen = subprocess.Popen
        monkeypatch.setattr(listening.subprocess, "Popen", start)

    return put


def run_batch(count: int = 3) -> tuple[Report, int]:
    report = Report("vae")
    return report, run._run_batch(report, 0, 0, count)


def test_lines_that_come_in_one_piece_are_all_heard(child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_SECONDS", 0.1)
    child(f"{AT_ONCE}while True: pass")
    report, following = run_batch()
    assert following == 3 and report.kinds["loaded"] == 2
    (finding,) = report.findings
    assert finding.startswith("'vae' 0 2: the process hung"), finding


def test_lines_may_come_in_pieces(child: Any) -> None:
    pieces = (b'{"start":', b' 0}\n{"end": 0, "kind": "loaded"', b', "message": ""}\n')
    child(f"import os, time\nfor piece in {pieces}: os.write(1, piece); time.sleep(0.1)")
    report, following = run_batch(1)
    assert following == 1 and not report.findings and report.kinds == {"loaded": 1}


def test_a_mutant_that_ends_the_child_is_a_finding(child: Any) -> None:
    child(f"{AT_ONCE}os.write(2, b'the reason'); os._exit(7)")
    report, following = run_batch()
    assert following == 3 and len(report.findings) == 1
    assert "ended with 7" in report.findings[0] and "the reason" in report.findings[0]


def test_a_child_that_does_not_start_says_why(child: Any) -> None:
    child("import sys; sys.exit('no such package')")
    with pytest.raises(RuntimeError, match=r"ended with 1 .*no such package"):
        run_batch()


def test_a_child_that_starts_for_ever_is_killed(child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "SECONDS_TO_START", 0.1)
    child("while True: pass")
    with pytest.raises(RuntimeError, match="hung"):
        run_batch()


class Process:
    """What the system would say of a process."""

    def __init__(self, status: str, seconds: float = 0.0) -> None:
        self.state, self.seconds = status, seconds

    def status(self) -> str:
        return self.state

    def cpu_times(self) -> Any:
        return SimpleNamespace(user=self.seconds, system=0.0)


@pytest.mark.parametrize(
    ("status", "hangs"),
    [(psutil.STATUS_SLEEPING, True), (psutil.STATUS_RUNNING, False), (psutil.STATUS_STOPPED, False)],
)
def test_only_what_waits_by_itself_waits_too_long(status: str, hangs: bool) -> None:
    watch = Watch(Process(status), 1.0)  # type: ignore[arg-type]
    said = [watch.judge() for _ in range(listening.SECONDS_TO_WAIT + 1)]
    assert any(said) == hangs and not any(said[:-1])


def test_processor_time_is_counted_from_the_last_line() -> None:
    process = Process(psutil.STATUS_RUNNING, listening.SECONDS_TO_START)
    watch = Watch(process, listening.SECONDS_TO_START)  # type: ignore[arg-type]
    assert not watch.judge()
    watch.hear()
    process.seconds += 3 * listening.MOST_SECONDS
    assert not watch.judge()
    process.seconds += 1
    assert "16 s of processor time" in watch.judge()
