"""Rows: one run each, read from CSV or JSON Lines, one at a time. Standard library only."""

from __future__ import annotations

import csv
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..printable import SentenceError, make_file_name

__all__ = ["NAME", "Row", "RowFile", "RowsError", "make_key"]

NAME = "name"
"""The column that names a row's files."""

MOST_COLUMNS = 200
LONGEST_LINE = 1 << 20  # characters
SCALARS = (str, int, float, bool, type(None))


class RowsError(SentenceError):
    """A file of rows that cannot be read or used."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        index: Its place among the rows, from 0.
        line: Of the file, from 1.
        values: Column -> value: texts from CSV (empty cells are left out), JSON's own types from JSON Lines.
    """

    index: int
    line: int
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the row's files are called: its own name, or its number."""
        return str(self.values.get(NAME) or f"{self.index:06}")


@dataclass(frozen=True)
class RowFile:
    """A file of rows, read anew by each iteration, so that its length costs no memory.

    Attributes:
        path: Ending in ``.csv`` (the first line names the columns) or ``.jsonl`` (an object a line).
    """

    path: Path

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in order.

        Raises:
            RowsError: A line cannot be read.
            OSError: The file cannot be opened.
        """
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            try:
                for index, (line, values) in enumerate(self._parse(file)):
                    yield Row(index, line, values)
            except UnicodeDecodeError as error:
                raise RowsError(f"{self.path.name}: is not UTF-8 text ({error.reason}); save it as UTF-8.") from None

    @cached_property
    def count(self) -> int:
        """How many rows there are; each has been read once, and the names of no two are equal."""
        names, count = array("q"), 0
        for row in self:
            count += 1
            if NAME in row.values:
                names.append(_hash(make_file_name(row.name)))
        if not count:
            raise RowsError(f"{self.path.name}: holds no row; write the columns first, then one run a line.")
        self._check_names(names)
        return count

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns: those that the first line of CSV names, or all that occur."""
        if self.path.suffix.lower() == ".csv":
            return tuple(self._head)
        return tuple(dict.fromkeys(name for row in self for name in row.values))

    @cached_property
    def _head(self) -> list[str]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            head = next(csv.reader(file), [])
        doubled = {name for name in head if head.count(name) > 1}
        if doubled or "" in head or not 0 < len(head) <= MOST_COLUMNS:
            found = f"names column {min(doubled)!r} twice" if doubled else f"names {len(head)} columns"
            raise RowsError(
                f"{self.path.name}: its first line {found}; give each of 1 to {MOST_COLUMNS} columns a name."
            )
        return head

    def _parse(self, file: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        kinds = {".csv": self._parse_csv, ".jsonl": self._parse_json, ".ndjson": self._parse_json}
        suffix = self.path.suffix.lower()
        if suffix not in kinds:
            raise RowsError(f"{self.path.name}: is neither .csv nor .jsonl; save the rows as one of these.")
        return kinds[suffix](file)

    def _parse_csv(self, file: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        reader = csv.reader(file)
        try:
            for cells in reader:
                if reader.line_num == 1 or not any(cell.strip() for cell in cells):
                    continue
                if len(cells) > len(self._head):
                    raise self._refuse(
                        reader.line_num,
                        f"has {len(cells)} cells for {len(self._head)} columns; quote cells with commas",
                    )
                yield (
                    reader.line_num,
                    {name: cell for name, cell in zip(self._head, cells, strict=False) if cell.strip()},
                )
        except csv.Error as error:
            raise self._refuse(reader.line_num, f"cannot be read ({error})") from None

    def _parse_json(self, file: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if len(line) > LONGEST_LINE:
                raise self._refuse(number, f"has {len(line)} characters; at most {LONGEST_LINE} are read")
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise self._refuse(number, f"is not JSON ({error}); write an object a line") from None
            if not isinstance(values, dict) or not all(isinstance(value, SCALARS) for value in values.values()):
                raise self._refuse(number, "is not an object of texts, numbers and true or false")
            yield number, {name: value for name, value in values.items() if value is not None}

    def _refuse(self, line: int, reason: str) -> RowsError:
        return RowsError(f"{self.path.name}, line {line}: {reason}.")

    def _check_names(self, names: array[int]) -> None:
        ordered = sorted(names)
        doubled = {a for a, b in pairwise(ordered) if a == b}
        if not doubled:
            return
        seen: dict[str, int] = {}
        for row in self:
            file = make_file_name(row.name)
            if NAME in row.values and _hash(file) in doubled:
                if file in seen:
                    raise self._refuse(
                        row.line, f"is named {row.name!r} like line {seen[file]}; give each row a name of its own"
                    )
                seen[file] = row.line


def make_key(*parts: object) -> str:
    """Return a short text that differs where JSON-able parts differ: what a manifest knows a row by."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
