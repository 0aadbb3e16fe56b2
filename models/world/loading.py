"""Opening worlds: every generation of TinyWorlds checkpoints, whole folders of them, and our single file.

Nothing is unpickled but tensors and plain containers; the few configuration classes that the current format pickles
are replaced by inert stand-ins.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import CheckpointError, read_pickle, read_tensors, strip_prefixes
from ..fitting import check_fit, load_into
from ..metadata import read_metadata
from ..model_kind import identify_model
from .discovery import STATE_FILE, WEIGHTS_FILE, find_checkpoints, is_checkpoint_folder
from .formats import CURRENT, STAGES, WorldFormat
from .infer_config import Weights
from .legacy import LEGACY
from .world import WORLD_CONFIG_KEY, WORLD_VERSION, World, save_world

__all__ = ["convert_world", "identify_network", "load_world"]

_log = logging.getLogger(__name__)

FilePath = str | os.PathLike[str]

# In the order in which they are asked: the legacy networks have some of the current format's names too.
_FORMATS: tuple[WorldFormat, ...] = (LEGACY, CURRENT)


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
        tokenizer: the video tokenizer's checkpoint: a ``.pth`` file (legacy, or as published since September 2025) or
            a ``<stage>_step_<n>`` folder.
        actions: the latent action model's checkpoint; may be left out where all actions are given explicitly.
        dynamics: the dynamics model's checkpoint.
        dtype: of the weights; None is float32, whatever the files hold.
        device: where the weights go.

    Raises:
        CheckpointError: a file is damaged, would run code, is of another kind, or does not fit its configuration.
        ValueError: the networks do not belong together.
    """
    if world is not None and (tokenizer, actions, dynamics) != (None, None, None):
        raise ValueError("load_world: both a whole world and single networks are given; give one or the other.")
    if world is not None:
        path = Path(world)
        loaded = _load_folder(path) if path.is_dir() else _load_single_file(path)
    elif tokenizer is None or dynamics is None:
        raise ValueError("load_world: give one file or folder, or at least tokenizer= and dynamics=.")
    else:
        paths = {"tokenizer": tokenizer, "latent_actions": actions, "dynamics": dynamics}
        loaded = _load_parts({stage: Path(path) for stage, path in paths.items() if path is not None})
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

    Args:
        target: the file to write.
        world: as for :func:`load_world`.
        tokenizer: as for :func:`load_world`.
        actions: as for :func:`load_world`.
        dynamics: as for :func:`load_world`.
        dtype: as for :func:`load_world`.

    Returns:
        The world as it was opened.

    Raises:
        CheckpointError: as for :func:`load_world`.
        ValueError: as for :func:`load_world`.
        OSError: the file cannot be written; what was there stays.
    """
    opened = load_world(world, tokenizer=tokenizer, actions=actions, dynamics=dynamics, dtype=dtype)
    save_world(opened, target)
    return opened


def identify_network(tensors: Iterable[str]) -> tuple[str, WorldFormat] | None:
    """Return the stage (a key of ``STAGES``) and the format of a network by its tensors' names, None when unknown."""
    names = set(tensors)
    for world_format in _FORMATS:
        for stage, network in world_format.networks.items():
            if network.marker in names:
                return stage, world_format
    return None


def _load_folder(folder: Path) -> World:
    singles = [path for path in sorted(folder.glob("*.safetensors")) if WORLD_CONFIG_KEY in read_metadata(path)]
    if len(singles) == 1:
        return _load_single_file(singles[0])
    if is_checkpoint_folder(folder):
        raise CheckpointError(
            f"{folder.name}: is one checkpoint, not a whole world; give all three, or their common folder."
        )
    paths = find_checkpoints(folder)
    missing = [f"a {STAGES[stage]}" for stage in ("tokenizer", "dynamics") if stage not in paths]
    if missing:
        raise CheckpointError(
            f"{folder.name}: has no checkpoint of {' or of '.join(missing)} in it; choose the folder of a training "
            "run, or give the files one by one."
        )
    _log.info("world %s: %s", folder.name, ", ".join(f"{stage} {path.name}" for stage, path in sorted(paths.items())))
    return _load_parts(paths, source=folder.name)


def _load_single_file(path: Path) -> World:
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder; check the name.")
    header = read_metadata(path) if path.suffix == ".safetensors" else {}
    if WORLD_CONFIG_KEY not in header:
        raise CheckpointError(
            f"{path.name}: does not hold a whole world; give tokenizer=, actions= and dynamics=, or a folder of them."
        )
    config = _parse_world_config(header[WORLD_CONFIG_KEY], path.name)
    tensors = read_tensors(path)
    parts = {}
    for stage in STAGES:
        own = {key.removeprefix(f"{stage}."): value for key, value in tensors.items() if key.startswith(f"{stage}.")}
        if own or stage in config:
            parts[stage] = _build_network(path.name, stage, own, _get_mapping(config, stage))
    return _assemble(parts, path.stem)


def _parse_world_config(text: str, source: str) -> dict[str, Any]:
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


def _load_parts(paths: Mapping[str, Path], source: str | None = None) -> World:
    parts = {stage: _build_network(path.name, stage, *_read_checkpoint(path)) for stage, path in paths.items()}
    return _assemble(parts, source or paths["dynamics"].stem)


def _assemble(parts: Mapping[str, tuple[WorldFormat, Any]], source: str) -> World:
    formats = {world_format.world.title: world_format.world for world_format, _ in parts.values()}
    if len(formats) > 1:
        raise ValueError(
            f"world: mixes networks of {' and of '.join(sorted(formats))}; choose three files of the same training run."
        )
    (world,) = formats.values()
    networks = {stage: network for stage, (_, network) in parts.items()}
    return world(networks["tokenizer"], networks.get("latent_actions"), networks["dynamics"], source=source)


def _build_network(
    source: str, stage: str, tensors: dict[str, Tensor], settings: Mapping[str, Any]
) -> tuple[WorldFormat, nn.Module]:
    """Build one network as large as its tensors show (``settings`` say what they do not), fill it, name its format."""
    wanted = f"a {STAGES[stage]}"
    found = identify_network(tensors)
    if found is None:
        kind = identify_model(tensors)
        raise CheckpointError(
            f"{source}: is not a TinyWorlds checkpoint{f' but {kind.value}' if kind else ''}; choose {wanted}."
        )
    if found[0] != stage:
        raise CheckpointError(
            f"{source}: is a {STAGES[found[0]]}, but was given as {wanted}; put it into its own slot."
        )
    network_format = found[1].networks[stage]
    config, weights = network_format.infer_config(Weights(source, tensors), settings)
    with torch.device("meta"):  # before memory is taken for sizes that a damaged file made up
        check_fit(network_format.build(config), weights, source=source, what=wanted)
    network = network_format.build(config)
    load_into(network, weights, source=source, what=wanted)
    return found[1], network


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a checkpoint and the settings that training stored with them."""
    if path.name == WEIGHTS_FILE:
        path = path.parent
    if path.is_dir():
        if not (path / STATE_FILE).is_file():
            raise CheckpointError(
                f"{path.name}: has no {STATE_FILE}, which holds the sizes; copy the whole checkpoint folder."
            )
        state = read_pickle(path / STATE_FILE, stand_ins=_STAND_INS)
        return read_tensors(path / WEIGHTS_FILE), _get_mapping(state, "config")
    if path.suffix == ".safetensors":
        return read_tensors(path), {}
    content = read_pickle(path, stand_ins=_STAND_INS)
    model = _get_mapping(content, "model")
    tensors = {strip_prefixes(str(key)): value for key, value in model.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path.name}: holds no weights under 'model'; give a checkpoint that training wrote.")
    return tensors, _get_mapping(content, "config") or _get_mapping(content, "hyperparameters")


def _get_mapping(content: object, key: str) -> dict[str, Any]:
    value = content.get(key) if isinstance(content, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}
