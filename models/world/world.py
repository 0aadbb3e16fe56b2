"""A world: the three networks that were trained together, and one file that holds them all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from ..checkpoint import write_tensors
from .action_names import ACTION_NAMES_KEY
from .networks.dynamics import DynamicsModel
from .networks.latent_actions import LatentActionModel
from .networks.tokenizer import VideoTokenizer
from .predictor import MaskgitPredictor, Predictor
from .rollout_config import RolloutConfig

__all__ = ["WORLD_CONFIG_KEY", "WORLD_VERSION", "World", "check_same_sizes", "save_world"]

WORLD_CONFIG_KEY = "wan_lite.world_config"
WORLD_VERSION = 1
_SHARED_SIZES = ["frame_size", "patch_size", "latent_dim", "num_bins"]


class World(nn.Module):
    """Tokenizer, latent action model and dynamics model of one world.

    Attributes:
        tokenizer: Frames to tokens and back.
        latent_actions: Infers actions; None when no file was given: explicit actions still work.
        dynamics: Predicts the next tokens.
        source: Where it was loaded from, for messages and file names.
        action_names: A name for each id, or none.
        generation: Of the checkpoint format: "current" or "legacy".
        title: The format in words.
        saved_generation: How files name the format.
        grows_window: Whether a rollout may start from fewer frames than its window.

    Raises:
        ValueError: The networks do not belong together; the sentence says which sizes differ.
    """

    tokenizer: VideoTokenizer
    latent_actions: LatentActionModel | None
    dynamics: DynamicsModel
    generation: ClassVar[str] = "current"
    title: ClassVar[str] = "the format since September 2025"
    saved_generation: ClassVar[str] = "current"
    grows_window: ClassVar[bool] = False

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        latent_actions: LatentActionModel | None,
        dynamics: DynamicsModel,
        source: str = "",
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.latent_actions = latent_actions
        self.dynamics = dynamics
        self.source = source
        self.action_names: tuple[str, ...] = ()
        self._check_networks()
        self.requires_grad_(False).eval()

    @property
    def frame_size(self) -> int:
        """Side of the square frames in pixels."""
        return self.tokenizer.config.frame_size

    @property
    def n_actions(self) -> int:
        """How many different actions there are; ids run from 0 to n_actions - 1."""
        return 2**self.dynamics.config.action_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return next(self.parameters()).dtype

    def describe(self) -> str:
        """Return one line about the world's sizes."""
        size, patch = self.frame_size, self.tokenizer.config.patch_size
        named = f" ({', '.join(self.action_names)})" if self.action_names else ""
        millions = sum(p.numel() for p in self.parameters()) / 1e6
        return (
            f"TinyWorlds, {self.title}: {size}x{size} frames, {(size // patch) ** 2} patches, {self.n_actions} "
            f"actions{named}, {millions:.2f} M weights"
        )

    def make_predictor(self, config: RolloutConfig) -> Predictor:
        """Return what predicts the next frames, as ``config`` says."""
        return MaskgitPredictor(self.tokenizer, self.latent_actions, self.dynamics, config)

    def count_decoding_steps(self, config: RolloutConfig) -> int:
        """Return how many decoding steps a prediction with ``config`` takes."""
        return config.maskgit_steps

    def check_config(self, config: RolloutConfig) -> None:
        """Refuse settings in ``config`` that the world's format does not have.

        Raises:
            ValueError: There is such a setting.
        """
        if config.latent_noise:
            raise ValueError(
                f"latent_noise: {config.latent_noise} given, but only the legacy format (July 2025) has it; use "
                "temperature."
            )

    def _check_networks(self) -> None:
        tokenizer, actions, dynamics = self.tokenizer.config, self.latent_actions, self.dynamics.config
        check_same_sizes("tokenizer", tokenizer, "dynamics model", dynamics, _SHARED_SIZES)
        if actions is not None:
            check_same_sizes("tokenizer", tokenizer, "action model", actions.config, ["frame_size"])
            check_same_sizes("dynamics model", dynamics, "action model", actions.config, ["action_dim"])


def save_world(world: World, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file with all networks of a world and their sizes in its header.

    Args:
        world: To save.
        path: Of the file to write.
        metadata: More header entries, for example a title (``modelspec.title``) or a licence.

    Raises:
        OSError: The file cannot be written; what was there stays.
    """
    parts = {"tokenizer": world.tokenizer, "latent_actions": world.latent_actions, "dynamics": world.dynamics}
    sizes = {name: asdict(part.config) for name, part in parts.items() if part is not None}
    config = {"version": WORLD_VERSION, "generation": world.saved_generation, **sizes}
    header = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"tinyworlds-{world.saved_generation}",
        "modelspec.implementation": "https://github.com/AlmondGod/tinyworlds",
        "modelspec.title": Path(path).stem,
        "modelspec.resolution": f"{world.frame_size}x{world.frame_size}",
        **({ACTION_NAMES_KEY: json.dumps(world.action_names)} if world.action_names else {}),
        **(metadata or {}),
        WORLD_CONFIG_KEY: json.dumps(config),
    }
    write_tensors(path, world.state_dict(), header)


def check_same_sizes(left: str, a: object, right: str, b: object, names: list[str]) -> None:
    """Refuse two networks whose configurations differ in a size that they share.

    Args:
        left: What the first network is, for the message.
        a: Its configuration.
        right: What the second network is.
        b: Its configuration.
        names: Of the sizes.

    Raises:
        ValueError: A size differs.
    """
    for name in names:
        mine, other = getattr(a, name), getattr(b, name)
        if mine != other:
            raise ValueError(
                f"world: the {left} has {name} {mine} and the {right} has {other}, so they were not trained together; "
                "choose files of one training run."
            )
