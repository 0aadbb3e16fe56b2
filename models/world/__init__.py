"""World models after TinyWorlds: video tokenizer, latent actions and dynamics, rolled out frame by frame."""

from .dynamics import DynamicsConfig, DynamicsModel
from .latent_actions import LatentActionModel, LatentActionsConfig
from .tokenizer import TokenizerConfig, VideoTokenizer

__all__ = [
    "DynamicsConfig",
    "DynamicsModel",
    "LatentActionModel",
    "LatentActionsConfig",
    "TokenizerConfig",
    "VideoTokenizer",
]
