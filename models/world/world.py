"""A world: the three networks that were trained together, and one file that holds them all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoint import write_tensors
from .dynamics import DynamicsModel
from .latent_actions import LatentActionModel
from .legacy.networks import JulyActionModel, JulyDynamics, JulyTokenizer
from .tokenizer import VideoTokenizer

__all__ = ["WORLD_CONFIG_KEY", "WORLD_VERSION", "World", "fit_frames", "save_world"]

WORLD_CONFIG_KEY = "wan_lite.world_config"
WORLD_VERSION = 1

Generation = Literal["current", "july"]
Tokenizer = VideoTokenizer | JulyTokenizer
Actions = LatentActionModel | JulyActionModel
Dynamics = DynamicsModel | JulyDynamics


class World(nn.Module):
    """Tokenizer, latent action model and dynamics model of one world.

    Attributes:
        tokenizer, latent_actions (None when no file was given: explicit actions still work), dynamics.
        source: where it was loaded from, for messages and file names.

    Raises:
        ValueError: the networks do not belong together; the sentence says which sizes differ.
    """

    def __init__(
        self, tokenizer: Tokenizer, latent_actions: Actions | None, dynamics: Dynamics, source: str = ""
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.latent_actions = latent_actions
        self.dynamics = dynamics
        self.source = source
        _check_together(tokenizer, latent_actions, dynamics)
        self.requires_grad_(False).eval()

    @property
    def generation(self) -> Generation:
        """``current`` (September 2025 and later, tokens and MaskGIT) or ``july`` (the first format, regression)."""
        return "july" if isinstance(self.tokenizer, JulyTokenizer) else "current"

    @property
    def frame_size(self) -> int:
        """Side of the square frames in pixels."""
        return self.tokenizer.config.frame_size

    @property
    def n_actions(self) -> int:
        """How many different actions there are; ids run from 0 to n_actions - 1."""
        if isinstance(self.dynamics, DynamicsModel):
            return 2**self.dynamics.config.action_dim
        return self.latent_actions.config.n_actions if self.latent_actions is not None else 0

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
        millions = sum(p.numel() for p in self.parameters()) / 1e6
        kind = "July 2025 format" if self.generation == "july" else "TinyWorlds"
        return (
            f"{kind}: {size}x{size} frames, {(size // patch) ** 2} patches, {self.n_actions} actions, "
            f"{millions:.2f} M weights"
        )


def fit_frames(frames: Tensor, size: int) -> Tensor:
    """Crop frames to a square from the middle and resize them to the world's frame size.

    Shapes:
        (..., 3, H, W) -> (..., 3, size, size), values kept in their range. Sides shrink by averaging, as the data
        sets were made, and grow bilinearly.
    """
    side = min(frames.shape[-2:])
    top, left = (frames.shape[-2] - side) // 2, (frames.shape[-1] - side) // 2
    square = frames[..., top : top + side, left : left + side]
    if side == size:
        return square
    flat = square.reshape(-1, *square.shape[-3:])
    mode = {"mode": "area"} if side > size else {"mode": "bilinear", "align_corners": False}
    return F.interpolate(flat, size=(size, size), **mode).reshape(*square.shape[:-2], size, size)


def save_world(world: World, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file with all networks of a world and their sizes in its header.

    Args:
        metadata: more header entries, for example a title (``modelspec.title``) or a licence.

    Raises:
        OSError: the file cannot be written; what was there stays.
    """
    parts = {"tokenizer": world.tokenizer, "latent_actions": world.latent_actions, "dynamics": world.dynamics}
    sizes = {name: asdict(part.config) for name, part in parts.items() if part is not None}
    config = {"version": WORLD_VERSION, "generation": world.generation, **sizes}
    header = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"tinyworlds-{world.generation}",
        "modelspec.implementation": "https://github.com/AlmondGod/tinyworlds",
        "modelspec.title": Path(path).stem,
        "modelspec.resolution": f"{world.frame_size}x{world.frame_size}",
        **(metadata or {}),
        WORLD_CONFIG_KEY: json.dumps(config),
    }
    write_tensors(path, world.state_dict(), header)


def _check_together(tokenizer: Tokenizer, actions: Actions | None, dynamics: Dynamics) -> None:
    july = [isinstance(part, (JulyTokenizer, JulyActionModel, JulyDynamics)) for part in (tokenizer, dynamics)]
    july += [isinstance(actions, JulyActionModel)] if actions is not None else []
    if any(july) != all(july):
        raise ValueError(
            "world: mixes networks of the July 2025 format with networks of the current one; "
            "choose three files of the same training run."
        )
    if all(july) and actions is None:
        raise ValueError(
            "world: the July 2025 format keeps its action vectors in the action model; give that file too."
        )
    names = ["frame_size", "latent_dim"] if all(july) else ["frame_size", "patch_size", "latent_dim", "num_bins"]
    _same("tokenizer", tokenizer.config, "dynamics model", dynamics.config, names)
    if actions is not None:
        _same("tokenizer", tokenizer.config, "action model", actions.config, ["frame_size"])
        _same(
            "dynamics model",
            dynamics.config,
            "action model",
            actions.config,
            ["latent_dim" if all(july) else "action_dim"],
        )


def _same(left: str, a: object, right: str, b: object, names: list[str]) -> None:
    for name in names:
        mine, other = getattr(a, name), getattr(b, name)
        if mine != other:
            raise ValueError(
                f"world: the {left} has {name} {mine} and the {right} has {other}, so they were not trained together; "
                "choose files of one training run."
            )
