"""Opening worlds: every generation of TinyWorlds checkpoints, whole folders of them, and our single file.

Nothing is unpickled but tensors and plain containers; the few configuration classes that the current format pickles
are replaced by inert stand-ins.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import CheckpointError, TensorFile, get_mapping
from ..fitting import check_fit, load_into
from ..metadata import read_metadata
from ..model_kind import identify_model
from ..pickles import read_pickle
from .action_names import ACTION_NAMES_KEY, parse_action_names
from .discovery import STATE_FILE, WEIGHTS_FILE, Run, find_runs, is_checkpoint_folder
from .formats import CURRENT, STAGES, WorldFormat
from .infer_config import Weights
from .legacy import LEGACY
from .networks.positions import SpatialPositions
from .world import WORLD_CONFIG_KEY, WORLD_VERSION, World, save_world

__all__ = ["convert_world", "identify_network", "load_world"]

log = logging.getLogger(__name__)

FilePath = str | os.PathLike[str]

_SMALL = 64  # elements

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
        world: Our single ``.safetensors`` file, or a folder of which the newest training run is taken, and of each
            network the checkpoint with the most steps.
        tokenizer: The video tokenizer's checkpoint: a ``.pth`` file (legacy, or as published since September 2025) or
            a ``<stage>_step_<n>`` folder.
        actions: The latent action model's checkpoint; may be left out where all actions are given explicitly.
        dynamics: The dynamics model's checkpoint.
        dtype: Of the weights; None is float32, whatever the files hold.
        device: Where the weights go.

    Raises:
        CheckpointError: A file is damaged, would run code, is of another kind, or does not fit its configuration.
        ValueError: The networks do not belong together.
    """
    if world is not None and (tokenizer, actions, dynamics) != (None, None, None):
        raise ValueError("load_world: both a whole world and single networks are given; give one or the other.")
    wanted = dtype or torch.float32
    if world is not None:
        path = Path(world)
        loaded = _load_folder(path, wanted) if path.is_dir() else _load_single_file(path, wanted)
    elif tokenizer is None or dynamics is None:
        raise ValueError("load_world: give one file or folder, or at least tokenizer= and dynamics=.")
    else:
        paths = {"tokenizer": tokenizer, "latent_actions": actions, "dynamics": dynamics}
        loaded = _load_parts({stage: Path(path) for stage, path in paths.items() if path is not None}, wanted)
    return loaded.to(device=device)


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
        target: The file to write.
        world: As for :func:`load_world`.
        tokenizer: As for :func:`load_world`.
        actions: As for :func:`load_world`.
        dynamics: As for :func:`load_world`.
        dtype: As for :func:`load_world`.

    Returns:
        The world as it was opened.

    Raises:
        CheckpointError: As for :func:`load_world`.
        ValueError: As for :func:`load_world`.
        OSError: The file cannot be written; what was there stays.
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


def _load_folder(folder: Path, dtype: torch.dtype) -> World:
    singles = [path for path in sorted(folder.glob("*.safetensors")) if WORLD_CONFIG_KEY in read_metadata(path)]
    if len(singles) == 1:
        return _load_single_file(singles[0], dtype)
    if is_checkpoint_folder(folder):
        raise CheckpointError(
            f"{folder.name}: is one checkpoint, not a whole world; give all three, or their common folder."
        )
    run = _choose_run(folder, find_runs(folder))
    parts = ", ".join(f"{stage} {path.name}" for stage, path in sorted(run.checkpoints.items()))
    log.info("world %s: run %s of %s: %s", folder.name, run.folder.name, run.time, parts)
    return _load_parts(run.checkpoints, dtype, source=folder.name)


def _choose_run(folder: Path, runs: list[Run]) -> Run:
    """Return the newest run, unless it lacks a network, which would have to come from another one."""
    newest = runs[-1] if runs else Run(folder, {}, "")
    for stage in STAGES:
        older = [run.folder.name for run in runs if stage in run.checkpoints]
        if stage not in newest.checkpoints and older:
            raise CheckpointError(
                f"{folder.name}: its newest run, {newest.folder.name}, has no {STAGES[stage]}, but {older[-1]} has; "
                "networks of different runs are not put together unseen: give each by name, or one run's folder."
            )
    missing = [f"a {STAGES[stage]}" for stage in ("tokenizer", "dynamics") if stage not in newest.checkpoints]
    if missing:
        raise CheckpointError(
            f"{folder.name}: has no checkpoint of {' or of '.join(missing)} in it; choose the folder of a training "
            "run, or give the files one by one."
        )
    return newest


def _load_single_file(path: Path, dtype: torch.dtype) -> World:
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder; check the name.")
    file = TensorFile(path) if path.suffix == ".safetensors" else None
    if file is None or WORLD_CONFIG_KEY not in file.metadata:
        raise CheckpointError(
            f"{path.name}: does not hold a whole world; give tokenizer=, actions= and dynamics=, or a folder of them."
        )
    config = _parse_world_config(file.metadata[WORLD_CONFIG_KEY], path.name)
    parts = {}
    for stage in STAGES:
        names = {name.removeprefix(f"{stage}."): name for name in file.specs if name.startswith(f"{stage}.")}
        if names or stage in config:
            parts[stage] = _build_network(_Part(file, names, get_mapping(config, stage), path.name), stage, dtype)
    world = _assemble(parts, path.stem)
    try:
        world.action_names = parse_action_names(file.metadata.get(ACTION_NAMES_KEY), world.n_actions)
    except ValueError as error:  # the world can be played without them
        log.warning("%s: %s", path.name, error)
    return world


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


def _load_parts(paths: Mapping[str, Path], dtype: torch.dtype, source: str | None = None) -> World:
    parts = {stage: _build_network(_open_checkpoint(path), stage, dtype) for stage, path in paths.items()}
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


@dataclass(frozen=True)
class _Part:
    """One network's tensors in an opened file, their names there by their own names, and its stored settings."""

    file: TensorFile
    names: Mapping[str, str]
    settings: Mapping[str, Any]
    source: str

    def read(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return tensors by their own names."""
        own = {self.names[name]: name for name in names}
        return {own[name]: tensor for name, tensor in self.file.read(own, dtype=dtype).items()}

    def describe_tensors(self) -> dict[str, Tensor]:
        """Return all tensors without memory, but small ones of whole numbers, which say sizes, with their content."""
        specs = {name: self.file.specs[inside] for name, inside in self.names.items()}
        small = [name for name, spec in specs.items() if spec.dtype == torch.int64 and 0 < spec.numel() <= _SMALL]
        return specs | self.read(small)


def _build_network(part: _Part, stage: str, dtype: torch.dtype) -> tuple[WorldFormat, nn.Module]:
    """Build one network as large as its tensors show (the settings say what they do not), fill it, name its format."""
    wanted, source = f"a {STAGES[stage]}", part.source
    tensors = part.describe_tensors()
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
    config, weights = network_format.infer_config(Weights(source, tensors), part.settings)
    with torch.device("meta"):  # before memory is taken for sizes that a damaged file made up
        network = network_format.build(config)
    check_fit(network, weights, source=source, what=wanted)
    load_into(network, part.read(weights, dtype), source=source, what=wanted)
    for module in network.modules():
        if isinstance(module, SpatialPositions):
            module.reset()
    return found[1], network


def _open_checkpoint(path: Path) -> _Part:
    """Return the weights of a checkpoint, unread, and the settings that training stored with them."""
    if path.name == WEIGHTS_FILE:
        path = path.parent
    if path.is_dir():
        if not (path / STATE_FILE).is_file():
            raise CheckpointError(
                f"{path.name}: has no {STATE_FILE}, which holds the sizes; copy the whole checkpoint folder."
            )
        state = read_pickle(path / STATE_FILE, stand_ins=_STAND_INS)
        file, settings = TensorFile(path / WEIGHTS_FILE), get_mapping(state, "config")
    else:
        file = TensorFile(path, stand_ins=_STAND_INS)
        settings = file.settings
    return _Part(file, {name: name for name in file.specs}, settings, path.name)
