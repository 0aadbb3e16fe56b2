"""World models after TinyWorlds: video tokenizer, latent actions and dynamics, rolled out frame by frame."""

from .actions import choose_action, infer_actions, parse_actions
from .diagnosis.diagnose import diagnose
from .diagnosis.report import ARMS, ActionEffect, Diagnosis
from .dynamics import DynamicsConfig, DynamicsModel
from .latent_actions import LatentActionModel, LatentActionsConfig
from .loading import convert_world, find_checkpoints, load_world
from .rollout import Rollout, RolloutProgress, RolloutState, rollout
from .rollout_config import RolloutConfig
from .tokenizer import TokenizerConfig, VideoTokenizer
from .world import World, fit_frames, save_world

__all__ = [
    "ARMS",
    "ActionEffect",
    "Diagnosis",
    "DynamicsConfig",
    "DynamicsModel",
    "LatentActionModel",
    "LatentActionsConfig",
    "Rollout",
    "RolloutConfig",
    "RolloutProgress",
    "RolloutState",
    "TokenizerConfig",
    "VideoTokenizer",
    "World",
    "choose_action",
    "convert_world",
    "diagnose",
    "find_checkpoints",
    "fit_frames",
    "infer_actions",
    "load_world",
    "parse_actions",
    "rollout",
    "save_world",
]
