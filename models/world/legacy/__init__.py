"""The legacy format of TinyWorlds checkpoints (v1, July 2025), whole: the loader imports ``LEGACY``, nobody else."""

from ..formats import NetworkFormat, WorldFormat
from .infer_config import infer_actions, infer_dynamics, infer_tokenizer
from .networks import LegacyActionModel, LegacyDynamics, LegacyTokenizer
from .world import LegacyWorld

__all__ = ["LEGACY"]

LEGACY = WorldFormat(
    networks={
        "tokenizer": NetworkFormat("vq.bins", infer_tokenizer, LegacyTokenizer),
        "latent_actions": NetworkFormat("quantizer.embedding.weight", infer_actions, LegacyActionModel),
        "dynamics": NetworkFormat("decoder.latent_head.weight", infer_dynamics, LegacyDynamics),
    },
    world=LegacyWorld,
)
