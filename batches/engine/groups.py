"""Which rows run together: decided by the file of rows alone, so that the same rows give the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from ..rows import Row, RowFile, make_key
from .jobs import Job, parse_job

__all__ = ["WINDOW", "Group", "Rows", "list_groups"]

WINDOW = 4096
"""Rows that are looked at together: those with the same models run after each other, in batches."""


@dataclass(frozen=True)
class Rows:
    """A file of rows with values for all of them; a group of it is named by its window and its number in it.

    Attributes:
        file: The rows.
        constants: Columns that every row has unless it says otherwise.
        batch: Rows that run together, at most.
    """

    file: RowFile
    constants: Mapping[str, str]
    batch: int

    def __iter__(self) -> Iterator[Row]:
        for row in self.file:
            yield replace(row, values={**self.constants, **row.values})


@dataclass(frozen=True)
class Group:
    """Rows that run in one batch: its place, and each row with what it asks for and its key in the manifest."""

    window: int
    number: int
    rows: tuple[tuple[Row, Job, str], ...]


def list_groups(rows: Rows) -> Iterator[Group]:
    """Yield the groups in order; memory holds one window.

    Raises:
        RowsError: A row cannot be read.
    """
    source, window = iter(rows), 0
    while chunk := list(islice(source, WINDOW)):
        yield from _split(chunk, rows.batch, window)
        window += 1


def _split(chunk: list[Row], batch: int, window: int) -> Iterator[Group]:
    alike: dict[tuple[object, ...], list[tuple[Row, Job, str]]] = {}
    for row in chunk:
        job = parse_job(row)
        alike.setdefault(job.group, []).append((row, job, make_key(batch, row.values)))
    batches = (items[i : i + batch] for items in alike.values() for i in range(0, len(items), batch))
    for number, items in enumerate(batches):
        yield Group(window, number, tuple(items))
