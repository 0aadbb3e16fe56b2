"""Where the checkpoints of a world lie in a folder: found by their names, the one with the most training steps."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["WEIGHTS_FILE", "find_checkpoints", "is_checkpoint_folder", "is_inside_checkpoint"]

WEIGHTS_FILE, STATE_FILE = "model_state_dict.pt", "state.pt"
"""The two files of a checkpoint folder that a loader reads."""
_CHECKPOINT_FILES = {WEIGHTS_FILE, STATE_FILE, "optim_state_dict.pt", "all_optimizers.pt", "all_schedulers.pt"}
_ENDINGS = ("*.pth", "*.pt", "*.safetensors")
_STAGE_WORDS = (
    ("latent_actions", ("latent_action", "action_tokenizer", "actions", "lam")),
    ("tokenizer", ("video_tokenizer", "videotokenizer", "vqvae", "tokenizer")),
    ("dynamics", ("dynamics",)),
)


def find_checkpoints(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the checkpoint of each kind with the most training steps in a folder and its subfolders.

    The kind is read from the names (``video_tokenizer``, ``latent_actions`` or ``lam`` or ``actions``, ``dynamics``);
    of equal steps the last name in alphabetical order wins, which is the newest time stamp.
    """
    found: dict[str, list[Path]] = {}
    for path in _list_checkpoints(Path(folder)):
        stage = _infer_stage(path.relative_to(folder))
        if stage is not None:
            found.setdefault(stage, []).append(path)
    return {stage: max(paths, key=lambda path: (_count_steps(path), path.name)) for stage, paths in found.items()}


def is_checkpoint_folder(path: Path) -> bool:
    """Whether this is a checkpoint of one network that training saved as a folder."""
    return path.is_dir() and (path / WEIGHTS_FILE).is_file()


def is_inside_checkpoint(path: Path) -> bool:
    """Whether a file of this name is one of several in a checkpoint folder, and so not a checkpoint itself."""
    return path.name in _CHECKPOINT_FILES


def _list_checkpoints(folder: Path) -> list[Path]:
    folders = [path.parent for path in folder.rglob(WEIGHTS_FILE)]
    files = [path for ending in _ENDINGS for path in folder.rglob(ending)]
    return folders + [path for path in files if not is_inside_checkpoint(path)]


def _infer_stage(path: Path) -> str | None:
    for name in [path.name, *(parent.name for parent in path.parents)]:
        for stage, words in _STAGE_WORDS:
            if any(word in name.lower() for word in words):
                return stage
    return None


def _count_steps(path: Path) -> int:
    match = re.search(r"_step_(\d+)", path.name)
    return int(match.group(1)) if match else -1
