"""The host's model folders: registered, listed, and the way from a listed name to a path that is inside of them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import folder_paths

from ...printable import make_line, make_printable

MODEL_FOLDERS = {
    "wan_students": {".safetensors"},
    "wan_lite_embeds": {".safetensors"},
    "world_models": {".safetensors", ".pth", ".pt"},
}
MAX_NAME_BYTES, MAX_PATH_BYTES = 200, 1000
"""Of a name that is asked for or written: file systems have 255, of which a counter and an ending take some."""
SAVED_INTO = ("wan_students", "wan_lite_embeds")
DEMO_MODELS = Path(__file__).resolve().parents[2] / "demo" / "models"
"""Laid out as the host's own models folder; every file is in a folder ``wan-lite-demo``."""
DEMO_PREFIX = "wan-lite-demo/"


def register_folders() -> None:
    """Tell the host about this pack's model folders and the demo's files; what others have put there comes first."""
    for kind, extensions in MODEL_FOLDERS.items():
        folder_paths.add_model_folder_path(kind, os.path.join(folder_paths.models_dir, kind))
        folders, known = folder_paths.folder_names_and_paths[kind]
        folder_paths.folder_names_and_paths[kind] = (folders, set(known) | extensions)
    for kind in SAVED_INTO:
        folder_paths.add_model_folder_path(kind, os.path.join(folder_paths.get_output_directory(), kind))
    for folder in filter(Path.is_dir, DEMO_MODELS.glob("*")):
        folder_paths.add_model_folder_path(folder.name, str(folder))


def list_files(kind: str) -> list[str]:
    """Return the files of a model folder by name as the host lists them, the demo's last, ``/`` between folders."""
    names = [name.replace(os.sep, "/") for name in folder_paths.get_filename_list(kind)]
    return sorted(names, key=lambda name: name.startswith(DEMO_PREFIX))


def list_models(kind: str) -> list[str]:
    """Return the names in a model folder as the host lists them; a folder that is a model is one name.

    A folder is a model where it holds a ``config.json`` and, in itself, at least one file of weights.
    """
    extensions = folder_paths.folder_names_and_paths[kind][1]
    listed: list[str] = []
    for name in list_files(kind):
        folder = name.rpartition("/")[0]
        whole = folder if folder and is_model_folder(kind, folder) else name
        if whole not in listed and (whole == folder or os.path.splitext(name)[1].lower() in extensions):
            listed.append(whole)
    return listed


def is_model_folder(kind: str, name: str) -> bool:
    """Whether ``name`` in the model folder ``kind`` is a folder that is listed as one model."""
    return any((Path(base) / name / "config.json").is_file() for base in folder_paths.get_folder_paths(kind))


def check_name(name: Any, what: str) -> None:
    """Check that a file on any disk can have this name, or a path of such names.

    Args:
        name: What somebody wrote.
        what: The input's name, for the message.

    Raises:
        ValueError: It is not text, has a control character, or is too long.
    """
    if not isinstance(name, str):
        raise ValueError(f"{what} is {make_line(repr(name), 60)}, not a name; choose one from the list, or write text.")
    if "\0" in name or name != make_printable(name) or "\n" in name:
        raise ValueError(f"{what} is {make_line(repr(name), 100)}, which has control characters; leave them out.")
    longest = max(map(len, os.fsencode(name).replace(b"\\", b"/").split(b"/")))
    if longest > MAX_NAME_BYTES or len(os.fsencode(name)) > MAX_PATH_BYTES:
        raise ValueError(
            f"{what} is {make_line(repr(name), 100)}, {len(name)} characters long; a file's name has at most "
            f"{MAX_NAME_BYTES} bytes and its path {MAX_PATH_BYTES}: shorten it."
        )


def find_model(kind: str, name: str, what: str) -> Path:
    """Return where a listed name lies on disk.

    Args:
        kind: The model folder.
        name: As :func:`list_models` gives it.
        what: The input's name, for the message.

    Raises:
        ValueError: The name leaves the model folder (``..``, an absolute path) or is not there.
    """
    check_name(name, what)
    if not name or os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
        raise ValueError(
            f"{what}: {name!r} is not inside the models folder; put it under models/{kind} (or a folder named for "
            f"{kind} in extra_model_paths.yaml) and choose it from the list."
        )
    for base in folder_paths.get_folder_paths(kind):
        if (Path(base) / name).exists():
            return Path(base) / name
    available = ", ".join(list_models(kind)[:5]) or "nothing"
    raise ValueError(
        f"{what}: there is no {name!r} under models/{kind} (found {available}); copy it there and press R to refresh."
    )


def fingerprint(path: Path | None) -> str:
    """Return a text that changes with the file, or with any file in the folder: for the host's cache.

    The host writes it into every image. So it is a digest, which tells nobody where the models lie, and it is the same
    on every machine that holds the same files with the same times.
    """
    if path is None:
        return ""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    stats = [(file.relative_to(path.parent).as_posix(), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return hashlib.sha256(repr(stats).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def make_save_path(filename_prefix: str, extension: str) -> tuple[Path, str, str]:
    """Return a free path in the output folder, and its file name and subfolder as the host's results name them.

    Raises:
        ValueError: The prefix leaves the output folder, or no file can have such a name.
    """
    check_name(filename_prefix, "filename_prefix")
    if os.path.isabs(filename_prefix) or ".." in filename_prefix.replace("\\", "/").split("/"):
        raise ValueError(
            f"filename_prefix is {filename_prefix!r}, which is not inside the output folder; give a folder and a name "
            "without '..' and without a leading '/'."
        )
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        filename_prefix, folder_paths.get_output_directory()
    )
    file = f"{name}_{counter:05}_{extension}"
    return Path(folder) / file, file, subfolder
