"""Known students for people: one of them in words, and which model files of a workflow or a folder are some."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..models.errors import CheckpointError
from ..models.known_students import KnownStudent, KnownStudents, Recognition
from ..models.text_files import read_text
from ..printable import SentenceError
from ..samplers.contract import SamplingContract
from ..samplers.formatting import format_timesteps
from ..samplers.solvers import SOLVERS

__all__ = [
    "NamedFile",
    "describe_core",
    "describe_student",
    "describe_update",
    "find_model_names",
    "recognise_all",
    "search_student",
]

_MORE_OF_CORE = {"block": "blocks of", "switch": "low-noise expert from step"}

MOST_OF_WORKFLOW = 64 << 20
"""Bytes of a workflow that are read."""
_MODEL_FILE = re.compile(r"[^\x00-\x1f<>\"|?*]{1,240}\.(?:safetensors|sft|gguf|ckpt|pth|pt)", re.IGNORECASE)


class NamedFile(NamedTuple):
    """A model file's name, as it was found, and what it says."""

    name: str
    found: Recognition


def find_model_names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of model files in a folder, in a workflow (JSON), or in the workflows of a folder, sorted.

    A name in a workflow is a text that is nothing but a file's path, or the end of a link to one.

    Raises:
        ValueError: There is nothing at ``path``, or a file is not JSON.
    """
    path = Path(path)
    if not path.exists():
        raise SentenceError(f"{path}: there is nothing; give a workflow (JSON) or a folder.")
    if path.is_file():
        return sorted(set(_list_names_in_workflow(path)))
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    names = {file.relative_to(path).as_posix() for file in files if _MODEL_FILE.fullmatch(file.name)}
    return sorted(names.union(*(_list_names_in_workflow(file) for file in files if file.suffix == ".json")))


def recognise_all(names: Iterable[str], students: KnownStudents) -> tuple[list[NamedFile], list[NamedFile]]:
    """Return the names that belong to known students, and those that do not."""
    rows = [NamedFile(name, students.recognise(name)) for name in names]
    return [row for row in rows if row.found], [row for row in rows if not row.found]


def _list_names_in_workflow(path: Path) -> Iterator[str]:
    try:
        content = json.loads(read_text(path, most=MOST_OF_WORKFLOW))
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error}); give a workflow as ComfyUI saves it.") from None
    for text in _list_texts(content):
        name = text.partition("?")[0].rpartition("/")[2] if "://" in text else text
        if _MODEL_FILE.fullmatch(name):
            yield name.replace("\\", "/")


def _list_texts(content: Any) -> Iterator[str]:
    stack = [content]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            stack.extend(value.values() if isinstance(value, dict) else value)


def search_student(name: str, students: KnownStudents) -> tuple[KnownStudent, ...]:
    """Return the known student of this id, or those that a file's name or path belongs to.

    Raises:
        ValueError: It is neither.
    """
    if name in students.students:
        return (students.students[name],)
    found = students.recognise(name).students
    if found:
        return found
    why = students.explain_unknown(name)
    close = difflib.get_close_matches(name, students.students, n=3, cutoff=0.5)
    nearest = f" Near to it: {', '.join(close)}." if close else ""
    raise ValueError(why or f"{name!r} is neither a known student nor a name of its files.{nearest}")


def describe_update(contract: SamplingContract) -> str:
    """Return a contract's solver in words."""
    return SOLVERS[contract.solver].label


def describe_student(student: KnownStudent) -> str:
    """Return all that is known of a student, line by line."""
    contract = student.contract()
    facts = [("of", ", ".join(student.of)), *([] if contract is None else _describe_contract(contract))]
    facts += [("or", f"{_describe_difference(one.changes)}: {one.why}") for one in student.alternatives]
    facts += [("not in core", student.cannot_run)] if student.cannot_run else []
    facts += [("core", describe_core(student))] if student.core else []
    facts += [("weights", student.weights), *(("remark", remark) for remark in student.remarks)]
    facts += [("source", str(source)) for source in student.sources]
    width = max(len(label) for label, _ in facts)
    return "\n".join([f"{student.id}: {student.title}", *(f"  {label:<{width}}  {text}" for label, text in facts)])


def describe_core(student: KnownStudent) -> str:
    """Return the settings of ComfyUI's own nodes that are exact, or nearest, for a student."""
    core = student.core
    if core["scheduler"] == "manual":
        schedule = f"{core['sampler']} with ManualSigmas at the levels"
    else:
        schedule = f"{core['sampler']} with {core['scheduler']}, {core['steps']} steps, shift {core['shift']:g}"
    more = [f"{words} {core[key]}" for key, words in _MORE_OF_CORE.items() if key in core]
    return ", ".join([schedule, *more])


def _describe_contract(contract: SamplingContract) -> list[tuple[str, str]]:
    schedule, boundary = contract.schedule(), contract.expert_boundary
    facts = [
        ("update", f"{describe_update(contract)} ({contract.solver}), {contract.steps} calls, cfg {contract.cfg:g}"),
        ("levels", " ".join(f"{sigma:.7g}" for sigma in schedule.sigma_values)),
        ("timesteps", format_timesteps(schedule)),
    ]
    facts += [("experts", f"high noise down to timestep {1000 * boundary:g}, low noise below")] if boundary else []
    facts += [("frames", str(contract.frames))] if contract.frames else []
    if contract.causal:
        causal = contract.causal
        facts.append(("blocks", f"{causal.block} latent frames, context call at timestep {causal.context_timestep}"))
    return facts


def _describe_difference(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items() if value is not None)
