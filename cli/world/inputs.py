"""What ``rollout`` and ``diagnose`` share: their arguments, the world, the true video."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ...file_parts import split_name
from ..arguments import add_machine_arguments, torch_device, torch_dtype
from ..terminal import make_bar

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.world import RolloutConfig, RolloutProgress, World
    from ...pipeline.videos.reading import Excerpt, Video

__all__ = [
    "StepBar",
    "add_common_arguments",
    "add_prediction_arguments",
    "add_world_arguments",
    "load_world_of",
    "make_config",
    "open_clip",
    "read_clip",
]

SETTINGS = (
    "context_window", "horizon", "maskgit_steps", "schedule_k", "temperature", "top_k", "top_p", "action_guidance",
    "feedback", "clamp", "action_diversity", "context_actions", "latent_noise", "draw",
)  # fmt: skip
"""Fields of RolloutConfig that options of the same name set."""


def add_world_arguments(parser: argparse.ArgumentParser, *, needs_clip: bool = True) -> None:
    """Declare which world, and which true frames (which a session's file can name instead, without ``needs_clip``)."""
    parser.add_argument("--world", help="a world: one file, or the folder of a training run")
    parser.add_argument("--tokenizer", help="instead of --world: the video tokenizer's checkpoint")
    parser.add_argument("--action-model", help="... the latent action model's checkpoint")
    parser.add_argument("--dynamics", help="... the dynamics model's checkpoint")
    parser.add_argument(
        "--clip",
        required=needs_clip,
        metavar="FILE[:N]",
        help="true frames: an image, an animation, a video, a folder of images, TinyWorlds' .h5 data, or a "
        ".safetensors file with frames, of which N is the video to take (default: 0)",
    )
    parser.add_argument("--start", type=int, default=0, help="frames of the video to skip (default: 0)")
    parser.add_argument("--every", type=int, default=1, help="take each n-th frame of the video (default: 1)")
    parser.add_argument("--frames", type=int, help="use no more than this many frames of the video")
    parser.add_argument("--resize", action="store_true", help="crop and resize the video to the world's frame size")


def add_prediction_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how frames are predicted."""
    group = parser.add_argument_group("prediction")
    group.add_argument("--context-window", type=int, default=2, help="frames that a prediction sees (default: 2)")
    group.add_argument("--horizon", type=int, default=1, help="frames predicted together (default: 1)")
    group.add_argument("--maskgit-steps", type=int, default=10, help="decoding steps of a prediction (default: 10)")
    group.add_argument("--schedule-k", type=float, default=5.0, help="steepness of the unmasking (default: 5)")
    group.add_argument("--temperature", type=float, default=0.0, help="softmax temperature, 0 = likeliest (default: 0)")
    group.add_argument("--top-k", type=int, default=0, help="draw among the k likeliest tokens, 0 = all (default: 0)")
    group.add_argument("--top-p", type=float, default=1.0, help="draw among tokens that reach p, 1 = all (default: 1)")
    group.add_argument("--action-guidance", type=float, default=1.0, help="above 1: stress the action (default: 1)")
    group.add_argument(
        "--feedback", choices=["pixels", "tokens"], default="pixels", help="what is fed back (default: pixels)"
    )
    group.add_argument("--no-clamp", dest="clamp", action="store_false", help="let frames leave [-1, 1], as TinyWorlds")
    group.add_argument("--action-diversity", type=float, default=0.1, help="for --actions diversity (default: 0.1)")
    group.add_argument(
        "--context-actions",
        choices=["history", "inferred"],
        default="history",
        help="actions within the window: those chosen, or read from its frames each time (default: history)",
    )
    group.add_argument("--latent-noise", type=float, default=0.0, help="legacy format: noise on latents (default: 0)")
    group.add_argument(
        "--draw", choices=["masked", "all"], default="masked", help="all: the original's samples for a seed"
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare seed, progress bar and device."""
    parser.add_argument("--seed", type=int, default=0, help="rollout i of a batch uses seed + i (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_machine_arguments(parser)


def load_world_of(options: argparse.Namespace) -> World:
    """Load the world that the options name."""
    from ...models.world import load_world

    return load_world(
        options.world,
        tokenizer=options.tokenizer,
        actions=options.action_model,
        dynamics=options.dynamics,
        dtype=torch_dtype(options.precision),
        device=torch_device(options.device),
    )


def make_config(options: argparse.Namespace) -> RolloutConfig:
    """Return the settings of a rollout."""
    from ...models.world import RolloutConfig

    return RolloutConfig(**{name: getattr(options, name) for name in SETTINGS})


def open_clip(options: argparse.Namespace, world: World) -> Video:
    """Open the video that ``--clip`` names and compare its size with the world's.

    Raises:
        ValueError: It cannot be opened, or has another size and ``--resize`` is not given.
    """
    from ...pipeline.videos.reading import open_video

    path, number = split_name(options.clip)
    if number is not None and not number.isdecimal():
        raise ValueError(f"--clip {options.clip}: there is no such file; check the name and the folder.")
    video = open_video(path, None if number is None else int(number))
    size = world.frame_size
    if video.size != (size, size) and not options.resize:
        raise ValueError(
            f"--clip has {video.size[0]}x{video.size[1]} pixels, but this world was trained on {size}x{size}; "
            "add --resize to crop and resize it."
        )
    return video


def read_clip(video: Video, excerpt: Excerpt, world: World) -> Tensor:
    """Read frames (t, 3, S, S) in [-1, 1] in the world's size."""
    from ...models.world import fit_frames
    from ...pipeline.videos.reading import read_frames

    return read_frames(video, excerpt, lambda frames: fit_frames(frames, world.frame_size))


class StepBar:
    """A progress bar that counts decoding steps; rollouts call it."""

    def __init__(self, options: argparse.Namespace, total: int) -> None:
        self.bar = make_bar(options, total, "step")

    def __enter__(self) -> StepBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, progress: RolloutProgress) -> None:
        """Count one decoding step."""
        if progress.finished is None:
            self.bar.update()
