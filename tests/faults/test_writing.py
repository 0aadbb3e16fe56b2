"""Writing commands on a full or read-only disk, or killed at any moment: the old file or the new one, never half."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults import writing
from faults.writing import COMMANDS, End

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and limits the size of files")


@pytest.fixture(params=COMMANDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(request.param, tmp_path / "work")


class Case:
    """A command, what lies in its folder before it, and what it writes when nothing goes wrong."""

    def __init__(self, name: str, folder: Path) -> None:
        self.command, self.folder = COMMANDS[name], folder
        self.before: dict[str, Any] = {}
        writing.main(self.command.prepare(folder))  # what is imported here need not be in every fork
        self.end = self.run(writing.no_fault)
        assert self.end.code in (0, 1), self.end.said  # 1: `check` has found something
        self.after = writing.read_folder(folder)
        assert self.after != self.before
        self.sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]

    def run(self, fault: Callable[[Path], Any]) -> End:
        words = self.command.prepare(self.folder)
        self.before = writing.read_folder(self.folder)
        return writing.run_with(fault, words, self.folder)

    def check_whole(self) -> None:
        """Each file is the old one, the new one, or not there yet."""
        for name, content in writing.read_folder(self.folder).items():
            assert content in (self.before.get(name), self.after.get(name)), f"{name} is half of something"
        assert set(self.before) <= set(writing.read_folder(self.folder))

    def points(self) -> list[int]:
        """Sizes at which to stop: the first byte, the middle and the last byte of each file."""
        return sorted({point for size in self.sizes for point in (1, size // 2, size - 1) if point > 0})


def test_killed_before_each_change_of_the_disk(case: Case) -> None:
    assert case.end.changes >= 2
    for number in range(case.end.changes):
        assert case.run(writing.kill_at(number)).signal == signal.SIGKILL
        case.check_whole()


def test_killed_in_the_middle_of_writing(case: Case) -> None:
    killed = 0
    for size in case.points():
        killed += case.run(writing.kill_at_size(size)).signal == signal.SIGXFSZ
        case.check_whole()
    assert killed


def test_a_full_disk_is_said_and_leaves_what_was_there(case: Case) -> None:
    refused = 0
    for size in case.points():
        end = case.run(writing.fill_disk_at(size))
        case.check_whole()
        if end.code == 2:
            refused += 1
            assert "space on the disk" in end.said.splitlines()[-1] and "Traceback" not in end.said, end.said
        assert not writing.list_parts(case.folder)
    assert refused


def test_a_read_only_disk_is_said_and_leaves_what_was_there(case: Case) -> None:
    end = case.run(writing.make_read_only)
    assert end.code == 2 and "Read-only file system" in end.said.splitlines()[-1], end.said
    assert writing.read_folder(case.folder) == case.before
    assert not writing.list_parts(case.folder)
