"""The host's side of things, once: model folders, schema fields that older hosts lack, pictures, progress, metadata.

Oldest ComfyUI that is supported: 0.11.1. Fields of the V3 schema that came later, or not with the first V3 hosts
(``search_aliases``, ``essentials_category``, ``advanced``), are passed only to a host that has them.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ...pipeline.pictures.convert import to_signed
from ...samplers.contract import SamplingContract

log = logging.getLogger(__name__)

CATEGORY = "Wan Lite"
MODEL_FOLDERS = {
    "wan_students": {".safetensors"},
    "wan_lite_embeds": {".safetensors"},
    "world_models": {".safetensors", ".pth", ".pt"},
}
SAVED_INTO = ("wan_students", "wan_lite_embeds")
DEMO_MODELS = Path(__file__).resolve().parents[2] / "demo" / "models"
"""Laid out as the host's own models folder; every file is in a folder ``wan-lite-demo``."""
DEMO_PREFIX = "wan-lite-demo/"
METADATA_KEY = "wan_lite.sampling_contract"
PRECISIONS: dict[str, torch.dtype | None] = {
    "auto": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

_LATER_FIELDS = {"search_aliases", "essentials_category"} - set(inspect.signature(io.Schema).parameters)
ADVANCED = {"advanced": True} if "advanced" in inspect.signature(io.Int.Input.__init__).parameters else {}
"""Options of an input that belongs under "advanced"; empty where the host has no such thing."""


def schema(**fields: Any) -> io.Schema:
    """Make a node's schema, without the fields that this host does not know yet."""
    return io.Schema(**{key: value for key, value in fields.items() if key not in _LATER_FIELDS})


# Model folders -------------------------------------------------------------------------------------------------------


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


def file_names(kind: str) -> list[str]:
    """Return the files of a model folder by name as the host lists them, the demo's last, ``/`` between folders."""
    names = [name.replace(os.sep, "/") for name in folder_paths.get_filename_list(kind)]
    return sorted(names, key=lambda name: name.startswith(DEMO_PREFIX))


def list_models(kind: str) -> list[str]:
    """Return the names in a model folder as the host lists them; a folder that is a model is one name.

    A folder is a model where it holds a ``config.json`` and, in itself, at least one file of weights.
    """
    extensions = folder_paths.folder_names_and_paths[kind][1]
    listed: list[str] = []
    for name in file_names(kind):
        folder = name.rpartition("/")[0]
        whole = folder if folder and is_model_folder(kind, folder) else name
        if whole not in listed and (whole == folder or os.path.splitext(name)[1].lower() in extensions):
            listed.append(whole)
    return listed


def is_model_folder(kind: str, name: str) -> bool:
    """Whether ``name`` in the model folder ``kind`` is a folder that is listed as one model."""
    return any((Path(base) / name / "config.json").is_file() for base in folder_paths.get_folder_paths(kind))


def model_path(kind: str, name: str, what: str) -> Path:
    """Return where a listed name lies on disk.

    Args:
        what: the input's name, for the message.

    Raises:
        ValueError: the name leaves the model folder (``..``, an absolute path) or is not there.
    """
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


def fingerprint(path: Path) -> str:
    """Return a text that changes when the file, or a file in the folder, changes: for the host's cache."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file()]
    return f"{path}{stats}"


def save_path(filename_prefix: str, extension: str) -> tuple[Path, str, str]:
    """Return a free path in the output folder, and its file name and subfolder as the host's results name them."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        filename_prefix, folder_paths.get_output_directory()
    )
    file = f"{name}_{counter:05}_{extension}"
    return Path(folder) / file, file, subfolder


# Pictures ------------------------------------------------------------------------------------------------------------


def to_pixels(image: Tensor) -> Tensor:
    """Turn an IMAGE (b, H, W, 3 or 4) in [0, 1] into stills (b, 3, 1, H, W) in [-1, 1]; alpha is dropped."""
    return to_signed(rearrange(image[..., :3], "b h w c -> b c 1 h w"))


# Progress and metadata -----------------------------------------------------------------------------------------------


class Progress:
    """Moves the host's progress bar and lets the user interrupt between two pieces of work.

    Call it with (done, total); it raises the host's interruption, which must be let through.
    """

    def __init__(self) -> None:
        self._bar: comfy.utils.ProgressBar | None = None

    def __call__(self, done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)


def record_contract(hidden: io.HiddenHolder, contract: SamplingContract) -> None:
    """Put the contract that was used into what the host's savers write into a picture.

    Queued from the page, it becomes a text of its own in the PNG; headless, where the host has no such table, it goes
    into the node's ``_meta`` in the ``prompt`` text. Both are written where both exist.
    """
    entry, node_id = json.loads(contract.to_json()), str(hidden.unique_id)
    if hidden.extra_pnginfo is not None:
        hidden.extra_pnginfo.setdefault(METADATA_KEY, {})[node_id] = entry
    node = (hidden.prompt or {}).get(node_id)
    if node is not None:
        node.setdefault("_meta", {})[METADATA_KEY] = entry


def show_text(hidden: io.HiddenHolder, text: str) -> None:
    """Log a text, and show it under the node where the host can."""
    log.info("Wan Lite: %s", text)
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None and hidden.unique_id is not None and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, hidden.unique_id)
