"""The generations of TinyWorlds checkpoints: how the networks of each are recognised, sized and built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from .infer_config import Settings, Tensors, Weights, infer_dynamics, infer_latent_actions, infer_tokenizer
from .networks.dynamics import DynamicsModel
from .networks.latent_actions import LatentActionModel
from .networks.tokenizer import VideoTokenizer
from .world import World

__all__ = ["CURRENT", "STAGES", "NetworkFormat", "WorldFormat"]

STAGES = {"tokenizer": "video tokenizer", "latent_actions": "latent action model", "dynamics": "dynamics model"}
"""The networks of a world, in the order in which they are trained, and what they are called in messages."""


@dataclass(frozen=True)
class NetworkFormat:
    """How one network of one generation is recognised, sized and built.

    Attributes:
        marker: A tensor that only this network has (among the formats that are asked after this one).
        infer_config: The sizes that tensors and stored settings show, and the tensors that the network takes.
        build: Makes the network from its sizes.
    """

    marker: str
    infer_config: Callable[[Weights, Settings], tuple[Any, Tensors]]
    build: Callable[[Any], nn.Module]


@dataclass(frozen=True)
class WorldFormat:
    """One generation of checkpoints: its networks by stage, and the world that they make."""

    networks: Mapping[str, NetworkFormat]
    world: type[World]


CURRENT = WorldFormat(
    networks={
        "tokenizer": NetworkFormat("encoder.latent_head.1.weight", infer_tokenizer, VideoTokenizer),
        "latent_actions": NetworkFormat("encoder.action_head.3.weight", infer_latent_actions, LatentActionModel),
        "dynamics": NetworkFormat("output_mlp.weight", infer_dynamics, DynamicsModel),
    },
    world=World,
)
