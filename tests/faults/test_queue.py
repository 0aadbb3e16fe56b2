"""`wan-lite queue` on a full or read-only disk, or killed at any moment: what it wrote is whole, and it continues."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import writing
from faults.writing import End
from unit.batches.fake_comfyui import FakeComfyUI
from wan_lite.batches.manifest import MANIFEST, read_records

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and limits the size of files")

WORKFLOW = {"3": {"class_type": "Text", "inputs": {"text": "a", "seed": 0}}}
ROWS, BEFORE = 3, 1
"""Rows in all, and those that an earlier run has done."""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeComfyUI]:
    with FakeComfyUI() as fake:
        yield fake


@pytest.fixture
def queue(server: FakeComfyUI, tmp_path: Path) -> Queue:
    return Queue(server, tmp_path)


class Queue:
    """A queue of which some rows are done, the rest of it with a fault, and what must hold afterwards."""

    def __init__(self, server: FakeComfyUI, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        self.words = ["queue", str(folder / "workflow.json"), "--rows", str(folder / "rows.jsonl"), "--quiet"]
        self.words += ["--server", server.url, "--out", str(self.out), "--depth", "1"]
        (folder / "workflow.json").write_text(json.dumps(WORKFLOW), "utf-8")
        (folder / "rows.jsonl").write_text("".join(f'{{"3.text": "t{i}"}}\n' for i in range(ROWS)), "utf-8")
        end = writing.run_with(writing.no_fault, self.words, self.out)
        assert end.code == 0, end.said
        self.lines = (self.out / MANIFEST).read_bytes().splitlines(keepends=True)
        paths = [file["path"] for record in list(read_records(self.out))[:BEFORE] for file in record.files]
        self.done = {path: (self.out / path).read_bytes() for path in paths}

    def begin(self) -> None:
        """Go back to where the earlier run ended."""
        shutil.rmtree(self.out)
        self.out.mkdir()
        for path, content in (self.done | {MANIFEST: b"".join(self.lines[:BEFORE])}).items():
            (self.out / path).write_bytes(content)

    def run(self, fault: Callable[[Path], Any]) -> End:
        """Run the rest with a fault."""
        self.begin()
        return writing.run_with(fault, self.words, self.out)

    def check(self) -> None:
        """Nothing old is lost, nothing new is half, and the same command without the fault does what is left, once."""
        known = self.check_records()
        assert known[:BEFORE] == list(range(BEFORE))
        end = writing.run_with(writing.no_fault, self.words, self.out)
        assert end.code == 0 and f"{ROWS - len(known)} rows done" in end.said, end.said
        assert self.check_records() == list(range(ROWS))
        assert len((self.out / MANIFEST).read_bytes().splitlines()) == ROWS

    def check_records(self) -> list[int]:
        """Return the rows of the manifest, each of which is done and names whole files."""
        records = list(read_records(self.out))
        for record in records:
            (file,) = record.files
            content = (self.out / file["path"]).read_bytes()
            assert record.status == "done" and hashlib.sha256(content).hexdigest() == file["sha256"]
            assert json.loads(content)["text"] == f"t{record.row}"
        return [record.row for record in records]


def test_killed_before_each_change_of_the_disk(queue: Queue) -> None:
    changes = queue.run(writing.no_fault).changes
    assert changes >= 2 * (ROWS - BEFORE)
    for number in range(changes):
        assert queue.run(writing.kill_at(number)).signal == signal.SIGKILL
        queue.check()


def limits(queue: Queue) -> list[int]:
    """Sizes of the manifest at which to stop: in each new line after its first byte, in its middle, before its end."""
    starts = [sum(map(len, queue.lines[:number])) for number in range(BEFORE, ROWS)]
    lines = zip(starts, queue.lines[BEFORE:], strict=True)
    return [start + at for start, line in lines for at in (0, 1, len(line) // 2, len(line) - 8)]


def test_killed_in_the_middle_of_a_line(queue: Queue) -> None:
    for limit in limits(queue):
        assert queue.run(writing.kill_at_size(limit)).signal == signal.SIGXFSZ
        queue.check()


def test_killed_in_the_middle_of_a_result(queue: Queue) -> None:
    for limit in (0, 1, 10):
        assert queue.run(writing.kill_at_size(limit)).signal == signal.SIGXFSZ
        queue.check()


@pytest.mark.parametrize("limit", [0, 1, 10])
def test_a_disk_that_is_full_before_a_result_is_said(queue: Queue, limit: int) -> None:
    check_full(queue, limit)


def test_a_disk_that_is_full_within_a_line_is_said(queue: Queue) -> None:
    for limit in limits(queue):
        check_full(queue, limit)


def check_full(queue: Queue, limit: int) -> None:
    end = queue.run(writing.fill_disk_at(limit))
    assert end.code == 2 and "space on the disk" in end.said.splitlines()[-1], end.said
    assert "Traceback" not in end.said and not writing.list_parts(queue.out)
    assert (queue.out / MANIFEST).read_bytes().endswith(b"\n")
    queue.check()


def test_a_read_only_disk_is_said(queue: Queue) -> None:
    end = queue.run(writing.make_read_only)
    assert end.code == 2 and "Read-only file system" in end.said.splitlines()[-1], end.said
    assert (queue.out / MANIFEST).read_bytes() == b"".join(queue.lines[:BEFORE])
    queue.check()
