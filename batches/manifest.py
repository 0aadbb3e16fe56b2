"""The manifest: what became of each row, a line of JSON each, written when the row's files are there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from ..atomic import replacing
from ..printable import SentenceError

__all__ = [
    "DONE",
    "FAILED",
    "MANIFEST",
    "Manifest",
    "ManifestError",
    "Record",
    "RunSummary",
    "describe_file",
    "read_records",
    "save_file",
]

MANIFEST = "manifest.jsonl"
DONE, FAILED = "done", "failed"
MOST_ERRORS = 5  # that a summary keeps


class ManifestError(SentenceError):
    """A folder whose manifest does not belong to these rows, or is in use."""


@dataclass(frozen=True)
class Record:
    """What became of a row.

    Attributes:
        row: Its index, from 0.
        key: Tells this row, run this way, from any other (:func:`~wan_lite.batches.rows.make_key`).
        status: ``done`` or ``failed``.
        files: ``{"path": name in the folder, "sha256": of its bytes}`` of each result.
        values: The row's own columns, as the pages over the manifest show them.
        error: Why it failed, one sentence.
        about: What else is worth keeping: seed, contract, prompt id, server, seconds.
    """

    row: int
    key: str
    status: str = DONE
    files: tuple[dict[str, str], ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class RunSummary:
    """How a run went: rows done now, failed now, and done or failed before; with the first few reasons."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list)

    def note(self, record: Record) -> None:
        """Count a row."""
        self.done += record.status == DONE
        self.failed += record.status == FAILED
        if record.error and len(self.errors) < MOST_ERRORS:
            self.errors.append(f"row {record.row}: {record.error}")


class Manifest:
    """The manifest of a folder, open for more rows; a context manager that one process at a time can hold.

    A line that was cut off when the machine stopped is taken away: its row is done again.

    Args:
        folder: Of the results; made where it is missing.
        count: How many rows there are.

    Raises:
        ManifestError: The folder is in use by another run, or holds the manifest of a longer file.
        OSError: The folder cannot be written to.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.path = folder, folder / MANIFEST
        self._status = bytearray(count)
        self._keys = bytearray(12 * count)
        self._lock = FileLock(folder / ".manifest.lock")
        self._file: FileIO | None = None

    def __enter__(self) -> Manifest:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ManifestError(
                f"{self.folder}: another run writes to it; wait for it, or name another --out."
            ) from None
        try:
            self._read()
            self._file = self.path.open("ab", buffering=0)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._lock.release()

    def find_status(self, row: int, key: str) -> str:
        """Return ``done``, ``failed``, or nothing for a row that is still to be run.

        Raises:
            ManifestError: The manifest knows the row, but as another one.
        """
        status = ("", DONE, FAILED)[self._status[row]]
        if status and self._keys[12 * row : 12 * row + 12] != bytes.fromhex(key):
            raise ManifestError(
                f"{self.path}: row {row} was run with other values or another workflow; name another --out folder."
            )
        return status

    def is_settled(self, row: int, key: str, *, retry: bool) -> bool:
        """Whether a row is done, or has failed and is not to be run again; see :meth:`find_status`."""
        status = self.find_status(row, key)
        return status == DONE or (status == FAILED and not retry)

    def count_status(self, status: str) -> int:
        """Return how many rows are ``done`` or ``failed``."""
        return self._status.count((DONE, FAILED).index(status) + 1)

    def add(self, record: Record) -> None:
        """Write what became of a row; it is on the disk when this returns.

        Raises:
            OSError: The disk is full or read-only; it names the manifest, which is as it was.
        """
        line = json.dumps(asdict(record), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._append(line)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(self.path)) from error
        self._note(record.row, record.key, record.status)

    def _append(self, line: bytes) -> None:
        """Write a line whole or, where that fails, nothing of it: the next one must not stand behind half a line."""
        assert self._file is not None
        end = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise

    def _note(self, row: int, key: str, status: str) -> None:
        self._status[row] = (DONE, FAILED).index(status) + 1
        self._keys[12 * row : 12 * row + 12] = bytes.fromhex(key)

    def _read(self) -> None:
        if not self.path.exists():
            return
        end = 0
        for record, line_end in _parse(self.path):
            end = line_end
            if record.row >= len(self._status):
                raise ManifestError(
                    f"{self.path}: knows row {record.row}, but there are {len(self._status)} rows; name another --out."
                )
            self._note(record.row, record.key, record.status)
        if end < self.path.stat().st_size:
            os.truncate(self.path, end)


def read_records(path: Path) -> Iterator[Record]:
    """Yield what became of each row, the last word on each in the order of the rows.

    Args:
        path: A manifest, or the folder that it lies in.

    Raises:
        ManifestError: There is none, or it is damaged.
    """
    path = path / MANIFEST if path.is_dir() else path
    if not path.is_file():
        raise ManifestError(f"{path}: is not there; name the --out folder of `wan-lite queue` or `wan-lite batch`.")
    latest: dict[int, int] = {}
    start = 0
    for record, end in _parse(path):
        latest[record.row] = start
        start = end
    with path.open("rb") as file:
        for row in sorted(latest):
            file.seek(latest[row])
            yield _decode(file.readline())


def describe_file(folder: Path, name: str) -> dict[str, str]:
    """Return a written file's entry in the manifest."""
    return {"path": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


def save_file(folder: Path, name: str, content: bytes) -> dict[str, str]:
    """Write a result whole or not at all; return its entry in the manifest."""
    with replacing(folder / name) as part:
        part.write_bytes(content)
    return describe_file(folder, name)


def _parse(path: Path) -> Iterator[tuple[Record, int]]:
    """Yield (record, where its line ends), up to a last line that was cut off."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = _decode(line)
            except (ValueError, TypeError, KeyError):
                raise ManifestError(f"{path}, line {number}: is not a manifest's; name another --out folder.") from None
            end += len(line)
            yield record, end


def _decode(line: bytes) -> Record:
    content = json.loads(line)
    record = Record(**content)
    if type(record.row) is not int or record.row < 0 or record.status not in (DONE, FAILED) or len(record.key) != 24:
        raise ValueError("not a record")
    bytes.fromhex(record.key)
    return record
