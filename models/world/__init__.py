"""World models after TinyWorlds: video tokenizer, latent actions and dynamics, rolled out frame by frame."""

from .actions import infer_actions, parse_actions
from .diagnosis import ARMS, Diagnosis, diagnose
from .discovery import Run, find_checkpoints, find_runs
from .frames import fit_frames
from .loading import convert_world, load_world
from .networks.dynamics import DynamicsConfig, DynamicsModel
from .networks.latent_actions import LatentActionModel, LatentActionsConfig
from .networks.tokenizer import TokenizerConfig, VideoTokenizer
from .play import SessionRecord, WorldSession, replay
from .rollout import Rollout, RolloutProgress, RolloutState, rollout
from .rollout_config import RolloutConfig
from .world import World, save_world

__all__ = [
    "ARMS",
    "Diagnosis",
    "DynamicsConfig",
    "DynamicsModel",
    "LatentActionModel",
    "LatentActionsConfig",
    "Rollout",
    "RolloutConfig",
    "RolloutProgress",
    "RolloutState",
    "Run",
    "SessionRecord",
    "TokenizerConfig",
    "VideoTokenizer",
    "World",
    "WorldSession",
    "convert_world",
    "diagnose",
    "find_checkpoints",
    "find_runs",
    "fit_frames",
    "infer_actions",
    "load_world",
    "parse_actions",
    "replay",
    "rollout",
    "save_world",
]
