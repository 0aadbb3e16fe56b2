"""Reading the data file of known students and a user's own one on top of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..text_files import read_text
from .names import NameRule
from .student import Alternative, KnownStudent, KnownStudents, KnownStudentsError, Source

__all__ = ["USER_FILE_VARIABLE", "load_built_in_students", "load_known_students", "user_file"]

USER_FILE_VARIABLE = "WAN_LITE_KNOWN_STUDENTS"
"""Environment variable with the path of a user's own data file."""

_FORMAT = 1
_OWN = Path(__file__).with_name("known_students.json")
_ENTRY_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str, "title": str, "of": list, "contract": (dict, type(None)), "names": list, "alternatives": list,
    "weights": str, "core": dict, "recipes": list, "cannot_run": str, "sources": list, "remarks": list, "off": bool,
}  # fmt: skip


def user_file() -> Path | None:
    """Return the user's own data file where there is one: the environment variable's, else in the config folder.

    Raises:
        KnownStudentsError: The variable names a file that does not exist.
    """
    named = os.environ.get(USER_FILE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise KnownStudentsError(f"{USER_FILE_VARIABLE} is {named!r}, which is not a file; correct or unset it.")
        return Path(named)
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    path = Path(config) / "wan-lite" / _OWN.name
    return path if path.is_file() else None


def load_known_students(own: str | os.PathLike[str] | None = None) -> KnownStudents:
    """Return the known students, with a user's own entries on top.

    Args:
        own: The user's data file; None looks where :func:`user_file` does. An entry of it with a known ``id`` replaces
            the fields that it gives, a new one is added, and ``"off": true`` switches one off.

    Raises:
        KnownStudentsError: A file is not JSON, or an entry is not of the form of ``known_students.json``.
    """
    path = user_file() if own is None else Path(own)
    if path is None:
        return load_built_in_students()
    built_in, content = _read(_OWN), _read(path)
    entries = {entry["id"]: entry for entry in built_in["students"]}
    for entry in content["students"]:
        id = _check_entry(entry, path.name)["id"]
        entries[id] = {**entries.get(id, {}), **entry}
    return _make(entries.values(), built_in, content, origin=path.name)


@cache
def load_built_in_students() -> KnownStudents:
    """Return the known students without a user's own entries."""
    content = _read(_OWN)
    return _make(content["students"], content, origin=_OWN.name)


def _read(path: Path) -> dict[str, Any]:
    content = _read_json(path)
    for key in ("students", "unknown", "silent"):
        if not isinstance(content.setdefault(key, []), list):
            raise KnownStudentsError(f"{path.name}: {key} is {type(content[key]).__name__}; give a list.")
    return content


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except CheckpointError as error:
        raise KnownStudentsError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise KnownStudentsError(f"{path.name}: is not JSON ({error}); repair it.") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        wanted = f'"format": {_FORMAT}'
        raise KnownStudentsError(f'{path.name}: lacks {wanted}; give an object with {wanted} and "students".')
    return content


def _check_entry(entry: Any, origin: str) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise KnownStudentsError(f'{origin}: an entry is {_shorten(entry)}; give an object with an "id".')
    if unknown := sorted(set(entry) - set(_ENTRY_TYPES)):
        raise KnownStudentsError(f"{origin}: {entry['id']} has {unknown}; allowed are {sorted(_ENTRY_TYPES)}.")
    for key, value in entry.items():
        if not isinstance(value, _ENTRY_TYPES[key]):
            raise KnownStudentsError(
                f"{origin}: {entry['id']} has {_shorten(value)} as {key}, a {type(value).__name__}; write it as "
                f"{_OWN.name} does."
            )
    return entry


def _make(entries: Iterable[dict[str, Any]], *contents: Mapping[str, Any], origin: str) -> KnownStudents:
    students = {entry["id"]: _read_student(entry, origin) for entry in entries if not entry.get("off")}
    silent = tuple(_compile_pattern(text, origin) for content in contents for text in content["silent"])
    unknown = tuple(_read_unknown(rule, origin) for content in contents for rule in content["unknown"])
    return KnownStudents(students, silent, unknown)


def _read_unknown(rule: Any, origin: str) -> tuple[re.Pattern[str], str]:
    if not isinstance(rule, dict) or not {"name", "why"} <= set(rule):
        raise KnownStudentsError(f'{origin}: {_shorten(rule)} is under unknown; give objects with "name" and "why".')
    return _compile_pattern(rule["name"], origin), str(rule["why"])


def _read_student(entry: Mapping[str, Any], origin: str) -> KnownStudent:
    try:
        return KnownStudent(
            id=entry["id"],
            title=entry.get("title", entry["id"]),
            of=tuple(entry.get("of", ())),
            fields=entry.get("contract"),
            names=tuple(_read_rule(rule, origin) for rule in entry.get("names", ())),
            alternatives=tuple(
                Alternative(other["why"], {**other["changes"]}) for other in entry.get("alternatives", ())
            ),
            weights=entry.get("weights", ""),
            core=entry.get("core", {}),
            recipes=tuple(entry.get("recipes", ())),
            cannot_run=entry.get("cannot_run", ""),
            sources=tuple(_read_source(source) for source in entry.get("sources", ())),
            remarks=tuple(entry.get("remarks", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise KnownStudentsError(
            f"{origin}: {entry['id']} is not of the form of {_OWN.name} ({type(error).__name__}: {error}); compare the "
            "two."
        ) from None


def _read_source(entry: Mapping[str, Any]) -> Source:
    return Source(entry["repository"], entry["commit"], tuple(entry["paths"]), entry.get("says", ""))


def _read_rule(entry: str | Mapping[str, str], origin: str) -> NameRule:
    if isinstance(entry, str):
        return NameRule(_compile_pattern(entry, origin))
    name, folder = entry.get("name"), entry.get("folder")
    return NameRule(
        _compile_pattern(name, origin) if name else None, _compile_pattern(folder, origin) if folder else None
    )


def _compile_pattern(text: Any, origin: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, TypeError) as error:
        raise KnownStudentsError(f"{origin}: {_shorten(text)} is not a pattern ({error}); correct it.") from None


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
