"""Which names of model files are known students: in a workflow, in a folder, and in a list."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..models.known_students import KnownStudents, Recognition

__all__ = ["NamedFile", "find_model_names", "recognise_all"]

_MODEL_FILE = re.compile(r"[^\x00-\x1f<>\"|?*]{1,240}\.(?:safetensors|sft|gguf|ckpt|pth|pt)", re.IGNORECASE)


class NamedFile(NamedTuple):
    """A model file's name, as it was found, and what it says."""

    name: str
    found: Recognition


def find_model_names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of model files in a folder, in a workflow (JSON), or in the workflows of a folder, sorted.

    A name in a workflow is a text that is nothing but a file's path, or the end of a link to one.

    Raises:
        ValueError: there is nothing at ``path``, or a file is not JSON.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is nothing; give a workflow (JSON) or a folder.")
    if path.is_file():
        return sorted(set(_names_in_workflow(path)))
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    names = {file.relative_to(path).as_posix() for file in files if _MODEL_FILE.fullmatch(file.name)}
    return sorted(names.union(*(_names_in_workflow(file) for file in files if file.suffix == ".json")))


def recognise_all(names: Iterable[str], students: KnownStudents) -> tuple[list[NamedFile], list[NamedFile]]:
    """Return the names that belong to known students, and those that do not."""
    rows = [NamedFile(name, students.recognise(name)) for name in names]
    return [row for row in rows if row.found], [row for row in rows if not row.found]


def _names_in_workflow(path: Path) -> Iterator[str]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error}); give a workflow as ComfyUI saves it.") from None
    for text in _texts(content):
        name = text.partition("?")[0].rpartition("/")[2] if "://" in text else text
        if _MODEL_FILE.fullmatch(name):
            yield name.replace("\\", "/")


def _texts(content: Any) -> Iterator[str]:
    stack = [content]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            stack.extend(value.values() if isinstance(value, dict) else value)
