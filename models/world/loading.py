"""Opening worlds: the three generations of TinyWorlds checkpoints, whole folders of them, and our single file.

Nothing is unpickled but tensors and plain containers; the few configuration classes that the current format pickles
are replaced by inert stand-ins.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import (
    CheckpointError,
    check_fit,
    describe_foreign,
    load_into,
    read_metadata,
    read_pickle,
    read_tensors,
    strip_prefixes,
)
from .dynamics import DynamicsModel
from .infer_config import SIZES, Weights, identify
from .latent_actions import LatentActionModel
from .legacy.networks import JulyActionModel, JulyDynamics, JulyTokenizer
from .tokenizer import VideoTokenizer
from .world import WORLD_CONFIG_KEY, WORLD_VERSION, World, save_world

__all__ = ["convert_world", "find_checkpoints", "load_world"]

_log = logging.getLogger(__name__)

FilePath = str | os.PathLike[str]

NAMES = {"tokenizer": "a video tokenizer", "latent_actions": "a latent action model", "dynamics": "a dynamics model"}
_NETWORKS: dict[tuple[str, str], Callable[..., nn.Module]] = {
    ("tokenizer", "current"): VideoTokenizer,
    ("latent_actions", "current"): LatentActionModel,
    ("dynamics", "current"): DynamicsModel,
    ("tokenizer", "july"): JulyTokenizer,
    ("latent_actions", "july"): JulyActionModel,
    ("dynamics", "july"): JulyDynamics,
}


class _Record:
    """Takes the place of a pickled configuration object; only ever holds its fields."""


class _Word(str):
    """Takes the place of a pickled string enumeration."""


_STAND_INS: tuple[tuple[type, str], ...] = (
    (type("DistributedConfig", (_Record,), {}), "utils.config.DistributedConfig"),
    (type("FSDPMixedPrecisionConfig", (_Record,), {}), "utils.config.FSDPMixedPrecisionConfig"),
    (_Word, "utils.config.DeviceType"),
    (type("CPUOffloadPolicy", (_Record,), {}), "torch.distributed.fsdp._fully_shard._fsdp_api.CPUOffloadPolicy"),
)


def load_world(
    world: FilePath | None = None,
    *,
    tokenizer: FilePath | None = None,
    actions: FilePath | None = None,
    dynamics: FilePath | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> World:
    """Open a world from one file or folder, or from its three checkpoints.

    Args:
        world: our single ``.safetensors`` file, or a folder in which the newest checkpoint of each kind is taken.
        tokenizer, actions, dynamics: one checkpoint each: a ``.pth`` file (July 2025, or as published since September
            2025) or a ``<stage>_step_<n>`` folder. ``actions`` may be left out where all actions are given explicitly.
        dtype: of the weights; None is float32, whatever the files hold.

    Raises:
        CheckpointError: a file is damaged, would run code, is of another kind, or does not fit its configuration.
        ValueError: the networks do not belong together.
    """
    if world is not None and (tokenizer, actions, dynamics) != (None, None, None):
        raise ValueError("load_world: both a whole world and single networks are given; give one or the other.")
    if world is not None:
        path = Path(world)
        loaded = _load_folder(path) if path.is_dir() else _load_single(path)
    elif tokenizer is None or dynamics is None:
        raise ValueError("load_world: give one file or folder, or at least tokenizer= and dynamics=.")
    else:
        paths = {"tokenizer": tokenizer, "latent_actions": actions, "dynamics": dynamics}
        loaded = _assemble({stage: Path(path) for stage, path in paths.items() if path is not None})
    return loaded.to(device=device, dtype=dtype)


def convert_world(
    target: FilePath,
    world: FilePath | None = None,
    *,
    tokenizer: FilePath | None = None,
    actions: FilePath | None = None,
    dynamics: FilePath | None = None,
    dtype: torch.dtype | None = None,
) -> World:
    """Open a world as :func:`load_world` does and write it to ``target`` as one safetensors file.

    Raises:
        CheckpointError, ValueError: as for :func:`load_world`.
        OSError: the file cannot be written; what was there stays.
    """
    opened = load_world(world, tokenizer=tokenizer, actions=actions, dynamics=dynamics, dtype=dtype)
    save_world(opened, target)
    return opened


def find_checkpoints(folder: FilePath) -> dict[str, Path]:
    """Return the checkpoint of each kind with the most training steps in a folder and its subfolders.

    The kind is read from the names (``video_tokenizer``, ``latent_actions`` or ``lam`` or ``actions``, ``dynamics``);
    of equal steps the last name in alphabetical order wins, which is the newest time stamp.
    """
    found: dict[str, list[Path]] = {}
    for path in _checkpoints_under(Path(folder)):
        stage = _stage_of_name(path.relative_to(folder))
        if stage is not None:
            found.setdefault(stage, []).append(path)
    return {stage: max(paths, key=lambda path: (_steps(path), path.name)) for stage, paths in found.items()}


def _load_folder(folder: Path) -> World:
    singles = [path for path in sorted(folder.glob("*.safetensors")) if WORLD_CONFIG_KEY in read_metadata(path)]
    if len(singles) == 1:
        return _load_single(singles[0])
    if _is_checkpoint_folder(folder):
        raise CheckpointError(
            f"{folder.name}: is one checkpoint, not a whole world; give all three, or their common folder."
        )
    paths = find_checkpoints(folder)
    missing = [NAMES[stage] for stage in ("tokenizer", "dynamics") if stage not in paths]
    if missing:
        raise CheckpointError(
            f"{folder.name}: has no checkpoint of {' or of '.join(missing)} in it; choose the folder of a training "
            "run, or give the files one by one."
        )
    _log.info("world %s: %s", folder.name, ", ".join(f"{stage} {path.name}" for stage, path in sorted(paths.items())))
    return _assemble(paths, source=folder.name)


def _load_single(path: Path) -> World:
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder; check the name.")
    header = read_metadata(path) if path.suffix == ".safetensors" else {}
    if WORLD_CONFIG_KEY not in header:
        raise CheckpointError(
            f"{path.name}: does not hold a whole world; give tokenizer=, actions= and dynamics=, or a folder of them."
        )
    config = _world_config(header[WORLD_CONFIG_KEY], path.name)
    tensors = read_tensors(path)
    parts = {}
    for stage in NAMES:
        mine = {key.removeprefix(f"{stage}."): value for key, value in tensors.items() if key.startswith(f"{stage}.")}
        if mine or stage in config:
            parts[stage] = _network(path.name, stage, mine, _table(config, stage))
    return _world(parts, path.stem)


def _world_config(text: str, source: str) -> dict[str, Any]:
    """Return the sizes in a world's header; each is checked against the weights when its network is built."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not {"tokenizer", "dynamics"} <= config.keys():
        raise CheckpointError(
            f"{source}: its header does not describe a world; convert the original checkpoints again."
        )
    if config.get("version") != WORLD_VERSION:
        raise CheckpointError(
            f"{source}: is a world of version {config.get('version')!r}, but this Wan Lite reads {WORLD_VERSION}; "
            "update Wan Lite or convert the original checkpoints again."
        )
    return config


def _assemble(paths: Mapping[str, Path], source: str | None = None) -> World:
    parts = {stage: _network(path.name, stage, *_read_checkpoint(path)) for stage, path in paths.items()}
    return _world(parts, source or paths["dynamics"].stem)


def _world(parts: Mapping[str, Any], source: str) -> World:
    return World(parts["tokenizer"], parts.get("latent_actions"), parts["dynamics"], source=source)


def _network(source: str, stage: str, tensors: dict[str, Tensor], config: Mapping[str, Any]) -> nn.Module:
    """Build one network as large as its tensors show (``config`` says what they do not) and fill it."""
    kind = identify(tensors)
    if kind is None:
        foreign = describe_foreign(tensors)
        raise CheckpointError(
            f"{source}: is not a TinyWorlds checkpoint{f' but {foreign}' if foreign else ''}; choose {NAMES[stage]}."
        )
    if kind[0] != stage:
        raise CheckpointError(
            f"{source}: is {NAMES[kind[0]]}, but was given as {NAMES[stage]}; put it into its own slot."
        )
    sizes, weights = SIZES[kind](Weights(source, tensors), config)
    with torch.device("meta"):  # before memory is taken for sizes that a damaged file made up
        check_fit(_NETWORKS[kind](sizes), weights, source=source, what=NAMES[stage])
    network = _NETWORKS[kind](sizes)
    load_into(network, weights, source=source, what=NAMES[stage])
    return network


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a checkpoint and the configuration that training stored with them."""
    if path.name == "model_state_dict.pt":
        path = path.parent
    if path.is_dir():
        if not (path / "state.pt").is_file():
            raise CheckpointError(
                f"{path.name}: has no state.pt, which holds the sizes; copy the whole checkpoint folder."
            )
        state = read_pickle(path / "state.pt", stand_ins=_STAND_INS)
        return read_tensors(path / "model_state_dict.pt"), _table(state, "config")
    if path.suffix == ".safetensors":
        return read_tensors(path), {}
    content = read_pickle(path, stand_ins=_STAND_INS)
    model = _table(content, "model")
    tensors = {strip_prefixes(str(key)): value for key, value in model.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path.name}: holds no weights under 'model'; give a checkpoint that training wrote.")
    return tensors, _table(content, "config") or _table(content, "hyperparameters")


def _table(content: object, key: str) -> dict[str, Any]:
    value = content.get(key) if isinstance(content, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


_NOT_WEIGHTS = {"model_state_dict.pt", "optim_state_dict.pt", "state.pt", "all_optimizers.pt", "all_schedulers.pt"}
_STAGE_WORDS = (
    ("latent_actions", ("latent_action", "action_tokenizer", "actions", "lam")),
    ("tokenizer", ("video_tokenizer", "videotokenizer", "vqvae", "tokenizer")),
    ("dynamics", ("dynamics",)),
)


def _is_checkpoint_folder(path: Path) -> bool:
    return path.is_dir() and (path / "model_state_dict.pt").is_file()


def _checkpoints_under(folder: Path) -> list[Path]:
    found = [path.parent for path in folder.rglob("model_state_dict.pt")]
    files = [path for ending in ("*.pth", "*.pt", "*.safetensors") for path in folder.rglob(ending)]
    return found + [path for path in files if path.name not in _NOT_WEIGHTS]


def _stage_of_name(path: Path) -> str | None:
    for name in [path.name, *(parent.name for parent in path.parents)]:
        for stage, words in _STAGE_WORDS:
            if any(word in name.lower() for word in words):
                return stage
    return None


def _steps(path: Path) -> int:
    match = re.search(r"_step_(\d+)", path.name)
    return int(match.group(1)) if match else -1
