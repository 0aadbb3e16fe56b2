"""World models after TinyWorlds: a video tokenizer, a latent action model and a dynamics model, rolled out frame by frame."""

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
