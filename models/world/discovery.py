"""Where the checkpoints of a world lie in a folder: training runs, and in each the checkpoint with the most steps."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "STATE_FILE",
    "WEIGHTS_FILE",
    "Run",
    "find_checkpoints",
    "find_runs",
    "is_checkpoint_folder",
    "is_inside_checkpoint",
]

WEIGHTS_FILE, STATE_FILE = "model_state_dict.pt", "state.pt"
"""The two files of a checkpoint folder that a loader reads."""
_CHECKPOINT_FILES = {WEIGHTS_FILE, STATE_FILE, "optim_state_dict.pt", "all_optimizers.pt", "all_schedulers.pt"}
_ENDINGS = ("*.pth", "*.pt", "*.safetensors")
_STAGE_WORDS = (
    ("latent_actions", ("latent_action", "action_tokenizer", "actions", "lam")),
    ("tokenizer", ("video_tokenizer", "videotokenizer", "vqvae", "tokenizer")),
    ("dynamics", ("dynamics",)),
)
_STAGE_FOLDERS = {"latent_action_model", *(word for _, words in _STAGE_WORDS for word in words)}
_TIME = re.compile(r"\d{4}(_\d\d){5}")


@dataclass(frozen=True)
class Run:
    """One run of training.

    Attributes:
        folder: Where it lies.
        checkpoints: By network, the one with the most steps.
        time: When it began, as its name says, else when its newest file was written: ``2025_09_17_06_20_26``.
    """

    folder: Path
    checkpoints: Mapping[str, Path]
    time: str


def find_runs(folder: str | os.PathLike[str]) -> list[Run]:
    """Return the runs in a folder and its subfolders, the newest last.

    A checkpoint of ``<run>/<network>/checkpoints/...`` (and of ``src/<network>/results/...``, as the legacy program
    wrote them) belongs to that run, any other to the folder that it or the folder of its network lies in.

    The network is read from the names (``video_tokenizer``, ``latent_actions`` or ``lam`` or ``actions``,
    ``dynamics``); of equal steps the last name in alphabetical order wins, which is the newest time stamp.

    Args:
        folder: To search.

    Source:
        TinyWorlds a99f3a8 ``utils/utils.py``: the newest folder, then the most steps in it. It goes by the time at
        which folders changed, which a copy does not keep; here their names' time stamps come first.
    """
    found: dict[Path, dict[str, list[Path]]] = {}
    for path in _list_checkpoints(Path(folder)):
        stage = _infer_stage(path.relative_to(folder))
        if stage is not None:
            found.setdefault(_find_run_folder(path, Path(folder)), {}).setdefault(stage, []).append(path)
    return sorted((_make_run(run, stages) for run, stages in found.items()), key=lambda run: (run.time, run.folder))


def find_checkpoints(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the checkpoints of the newest run in a folder, by network; see :func:`find_runs`.

    Args:
        folder: To search.
    """
    runs = find_runs(folder)
    return dict(runs[-1].checkpoints) if runs else {}


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


def _find_run_folder(path: Path, top: Path) -> Path:
    """Return the folder of a checkpoint's run, not above ``top``."""
    parents = [parent for parent in path.parents if parent == top or top in parent.parents]
    names = [parent.name for parent in parents]
    if "checkpoints" in names:
        up = names.index("checkpoints") + 2  # above the network's folder
        if names[up : up + 1] == ["results"] and names[up + 1] in _STAGE_FOLDERS:
            up += 2
    else:
        up = 1 if names[0] in _STAGE_FOLDERS else 0
    return parents[min(up, len(parents) - 1)]


def _make_run(folder: Path, stages: Mapping[str, list[Path]]) -> Run:
    best = {stage: max(paths, key=lambda path: (_count_steps(path), path.name)) for stage, paths in stages.items()}
    stamp = _TIME.search(folder.name)
    changed = max(path.stat().st_mtime for path in best.values())
    return Run(folder, best, stamp[0] if stamp else time.strftime("%Y_%m_%d_%H_%M_%S", time.localtime(changed)))


def _count_steps(path: Path) -> int:
    match = re.search(r"_step_(\d+)", path.name)
    return int(match.group(1)) if match else -1
