"""A child process that writes lines of JSON: each is read when it is written; a child that hangs is killed."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import psutil

MOST_SECONDS = 5.0
"""Of processor time for one load; how long it takes on the wall depends on what else the machine does."""
SECONDS_TO_START = 120.0
"""Of processor time, for all that a child imports and loads once; 3 to 10 where it has a core to itself."""
SECONDS_TO_WAIT = 300
"""Without processor time while nothing keeps the child from running: it waits for what never comes."""
_WAITING = (psutil.STATUS_SLEEPING, psutil.STATUS_DISK_SLEEP)


@dataclass
class Watch:
    """What a process has done since it was last heard of.

    One that is stopped, or that waits for a core because the machine is busy, is not counted as waiting.
    """

    process: psutil.Process
    most: float
    since: float = 0.0
    seen: float = 0.0
    waited: int = 0

    def hear(self) -> None:
        """Begin anew: it has written something."""
        self.since, self.waited, self.most = self._count_seconds(), 0, 3 * MOST_SECONDS

    def judge(self) -> str:
        """Say what is wrong, once for each second in which nothing was heard; empty where nothing is."""
        now = self._count_seconds()
        self.waited = self.waited + 1 if now == self.seen and self._is_waiting() else 0
        self.seen = now
        if now - self.since > self.most:
            return f"hung: {now - self.since:.0f} s of processor time without a line"
        return f"hung: it waited {self.waited} s for nothing" if self.waited > SECONDS_TO_WAIT else ""

    def _count_seconds(self) -> float:
        try:
            times = self.process.cpu_times()
        except psutil.Error:
            return self.seen
        return float(times.user + times.system)

    def _is_waiting(self) -> bool:
        try:
            return self.process.status() in _WAITING
        except psutil.Error:
            return False


@dataclass
class Child:
    """A process, its output line by line, and how it ended."""

    command: list[str]
    folder: Path
    environment: dict[str, str]
    log: IO[bytes]
    ending: str = ""
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Child:
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=self.log, bufsize=0
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.__exit__(kind, error, trace)

    def listen(self) -> Iterator[dict[str, Any]]:
        """Give the lines as they are written, and kill the child where it hangs.

        The pipe is read without a buffer: ``select`` knows nothing of lines that wait in one.
        """
        watch, rest = Watch(psutil.Process(self.process.pid), SECONDS_TO_START), b""
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not self.ending:
                if not selector.select(1.0):
                    self.ending = watch.judge()
                    continue
                if not (read := os.read(output, 2**16)):
                    return
                watch.hear()
                *lines, rest = (rest + read).split(b"\n")
                yield from map(json.loads, lines)
        self.process.kill()

    def end(self) -> int:
        """Wait for the end; return its code."""
        code = self.process.wait()
        self.ending = self.ending or f"ended with {code}"
        return code
