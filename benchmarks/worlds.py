"""A world of the original's default sizes with random weights."""

from __future__ import annotations

from typing import Any

import torch

from ..models.world import (
    DynamicsConfig,
    DynamicsModel,
    LatentActionModel,
    LatentActionsConfig,
    TokenizerConfig,
    VideoTokenizer,
    World,
)

__all__ = ["make_world"]

FRAME, PATCH, WIDTH, HEADS, HIDDEN, LATENT, BINS, ACTIONS = 64, 4, 32, 8, 128, 5, 4, 4


def make_world(frame_size: int = FRAME) -> World:
    """Return a world of the original's default sizes with random weights that make every part matter."""
    torch.manual_seed(0)
    shared: dict[str, Any] = {
        "frame_size": frame_size,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "num_heads": HEADS,
        "hidden_dim": HIDDEN,
    }
    world = World(
        VideoTokenizer(TokenizerConfig(**shared, num_blocks=4, latent_dim=LATENT, num_bins=BINS)),
        LatentActionModel(LatentActionsConfig(**shared, num_blocks=2, n_actions=ACTIONS)),
        DynamicsModel(DynamicsConfig(**shared, num_blocks=8, latent_dim=LATENT, num_bins=BINS, action_dim=2)),
    )
    for name, parameter in world.named_parameters():
        if name.endswith("weight") and parameter.ndim >= 2:
            parameter.data.mul_(2.0)
    return world
