"""A world in the host: found in the models folder, loaded and freed by the host, watched while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor, nn

from ...models.checkpoint import CheckpointError, read_tensors
from ...models.world import (
    Rollout,
    RolloutConfig,
    RolloutProgress,
    RolloutState,
    World,
    find_checkpoints,
    fit_frames,
    infer_actions,
    load_world,
    parse_actions,
    rollout,
)
from ...models.world.actions import ActionPolicy
from ...models.world.discovery import WEIGHTS_FILE, is_inside_checkpoint
from ...pipeline.pictures.convert import to_pil, to_signed, to_unit
from ...pipeline.pictures.layout import enlarge
from ...pipeline.rollouts import format_actions, parse_action_lists
from .card.whole import WholePatcher
from .cpu.threads import count_network, fit_threads
from .folders import find_model, list_files
from .progress import show_text
from .validation.links import check_frames

KIND = "world_models"
IN_THE_WORLD = "(in the world)"
NONE = "(none)"
LIST, INFER = "list", "infer from frames"
"""Sources of actions that are not rules of the library."""
WorldModel = io.Custom("WORLD_MODEL")
WorldActions = io.Custom("WORLD_ACTIONS")

_PREVIEW_SIDE = 256
_CLIP = "_clip"  # world_clip.safetensors lies beside world.safetensors


@dataclass(frozen=True)
class ActionChoice:
    """WORLD_ACTIONS: who chooses a rollout's actions, and where an earlier rollout stopped.

    Attributes:
        actions: ids (a row for each rollout), a rule's name, or None for a world without actions.
        state: Of the rollout that made these actions, to resume from; None where they were written down.
        text: As it was written, with names of actions, which are known where the world is; then ``actions`` is None.
    """

    actions: list[list[int]] | ActionPolicy | None
    state: RolloutState | None = None
    text: str | None = None

    def list_actions(self, world: World) -> list[list[int]] | ActionPolicy | None:
        """Return the actions, with names looked up in the world.

        Raises:
            ValueError: The world has no action of a name.
        """
        return self.actions if self.text is None else parse_action_lists(self.text, world.action_names)


@dataclass(frozen=True)
class Clip:
    """Frames of the true world, (t, S, S, 3) in [0, 1], and the actions between them, that came with a world."""

    frames: Tensor
    actions: ActionChoice


class HostedWorld:
    """WORLD_MODEL: a world whose weights the host moves between devices."""

    def __init__(self, world: World) -> None:
        holder = nn.Module()  # the host writes a device of its own onto the module
        holder.world = world
        self._world = world
        self.patcher = WholePatcher(
            holder,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )

    @property
    def sizes(self) -> World:
        """The world wherever it is now: for its sizes, not for running it."""
        return self._world

    def load(self, frames: int) -> World:
        """Return the world with its weights on the device, and room made for work on ``frames`` frames."""
        bytes_needed = frames * self._world.frame_size**2 * _count_bytes_per_pixel(self._world)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=bytes_needed, force_full_load=True)
        return self._world

    @contextmanager
    def run(self, frames: int) -> Iterator[World]:
        """Load as :meth:`load` does, for a block that computes in as many threads as the work on a frame is worth."""
        world = self.load(frames)
        with self.fit_threads():
            yield world

    def fit_threads(self) -> AbstractContextManager[None]:
        """Return the block in which to compute: in as many threads as the work on a frame is worth."""
        tokens = (self._world.frame_size // self._world.tokenizer.config.patch_size) ** 2
        return fit_threads(count_network(self._world, tokens))


def _count_bytes_per_pixel(world: World) -> int:
    """Return a frame's working memory: its patches' activations in a block, float32, about a dozen of them at once."""
    config = world.tokenizer.config
    return max(64, 12 * 4 * config.embed_dim // config.patch_size**2)


def list_worlds() -> list[str]:
    """Return what the loader offers: single files, checkpoint folders, and folders that hold a whole world."""
    names = [Path(name) for name in list_files(KIND)]
    files = [name for name in names if not is_inside_checkpoint(name) and not name.stem.endswith(_CLIP)]
    checkpoints = [name.parent for name in names if name.name == WEIGHTS_FILE]
    parents = {parent for name in files + checkpoints for parent in name.parents if parent != Path()}
    whole = [parent for parent in parents if _is_world(parent)]
    smallest = [folder for folder in whole if not any(other != folder and folder in other.parents for other in whole)]
    return sorted({path.as_posix() for path in (*files, *checkpoints, *smallest)})


def _is_world(folder: Path) -> bool:
    found: set[str] = set()
    for base in folder_paths.get_folder_paths(KIND):
        if (Path(base) / folder).is_dir():
            found |= find_checkpoints(Path(base) / folder).keys()
    return {"tokenizer", "dynamics"} <= found


def find_parts(world_name: str, actions_name: str, dynamics_name: str) -> dict[str, Path | None]:
    """Return the files that the loader's three names stand for.

    Raises:
        ValueError: A name is not inside of the models folder.
    """
    names = {"world": world_name, "actions": actions_name, "dynamics": dynamics_name}
    unnamed = (IN_THE_WORLD, NONE)
    return {what: None if name in unnamed else find_model(KIND, name, f"{what}_name") for what, name in names.items()}


def open_world(paths: dict[str, Path | None], dtype: torch.dtype | None) -> HostedWorld:
    """Load a whole world, or its parts where ``actions`` or ``dynamics`` are named."""
    if paths["dynamics"] is None and paths["actions"] is None:
        return HostedWorld(load_world(paths["world"], dtype=dtype))
    tokenizer, actions, dynamics = paths["world"], paths["actions"], paths["dynamics"]
    return HostedWorld(load_world(tokenizer=tokenizer, actions=actions, dynamics=dynamics, dtype=dtype))


def read_clip_beside(path: Path | None) -> Clip | None:
    """Return the clip that lies beside a world's file, ``NAME_clip.safetensors``, or None.

    It holds ``frames`` (b, t, S, S, 3) uint8 and ``actions`` (b, t - 1) int64; the first of the b clips is taken.
    """
    if path is None or path.is_dir():
        return None
    beside = path.with_name(f"{path.stem}{_CLIP}.safetensors")
    if not beside.is_file():
        return None
    tensors = read_tensors(beside)
    frames, actions = tensors.get("frames"), tensors.get("actions")
    if frames is None or frames.ndim != 5 or frames.dtype != torch.uint8 or 0 in frames.shape or frames.shape[-1] != 3:
        raise CheckpointError(f"{beside.name}: has no frames, 8-bit (videos, t, H, W, 3); copy it again or remove it.")
    if actions is None or actions.dtype != torch.int64 or actions.shape != (len(frames), frames.shape[1] - 1):
        raise CheckpointError(
            f"{beside.name}: has no actions, int64 (videos, t - 1), one between two frames; copy it again or remove it."
        )
    return Clip(tensors["frames"][0].float() / 255.0, ActionChoice(tensors["actions"][:1].tolist()))


# Frames --------------------------------------------------------------------------------------------------------------


def to_frames(image: Tensor, world: World, resize: str, name: str = "frames") -> Tensor:
    """Turn an IMAGE (t, H, W, 3 or 4) in [0, 1] into frames (1, t, 3, S, S) in [-1, 1] of the world's size.

    Args:
        image: The IMAGE.
        world: Says the size.
        resize: What to do with another size: ``error`` or ``fit``.
        name: The input's, for the message.

    Raises:
        ValueError: The IMAGE is not one, or it has another size and ``resize`` is ``error``.
    """
    check_frames(image, name)
    frames = to_signed(rearrange(image[..., :3], "t h w c -> 1 t c h w").float())
    size = world.frame_size
    if frames.shape[-2:] != (size, size) and resize == "error":
        raise ValueError(
            f"{name} are {frames.shape[-1]}x{frames.shape[-2]} pixels, but this world was trained on {size}x{size}; "
            "set resize to fit (crops to a square and resizes), or resize them yourself."
        )
    return fit_frames(frames, size)


def to_images(frames: Tensor) -> Tensor:
    """Turn frames (b, t, 3, S, S) in [-1, 1] into (b, t, S, S, 3) in [0, 1], clamped."""
    return to_unit(rearrange(frames, "b t c h w -> b t h w c").float()).clamp(0.0, 1.0)


# Running -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RolloutPlan:
    """How many steps, from which seed, how many at once and in which way a world is rolled out."""

    steps: int
    seed: int
    rollouts: int
    config: RolloutConfig


def choose_start(
    world: World, context: Tensor | None, continue_from: ActionChoice | None, resize: str
) -> Tensor | RolloutState:
    """Return the context frames, or the state of an earlier rollout.

    Raises:
        ValueError: Both or neither are connected, or the WORLD_ACTIONS are not those of a rollout.
    """
    if context is not None and continue_from is None:
        return to_frames(context, world, resize, "context")
    if context is not None or continue_from is None:
        given = "neither is" if context is None else "both are"
        raise ValueError(f"context, continue_from: {given} connected; a rollout starts from one of them.")
    if continue_from.state is None:
        raise ValueError(
            "continue_from: these WORLD_ACTIONS were written down, so there is no rollout to continue; connect the "
            "WORLD_ACTIONS output of a Wan Lite World Rollout."
        )
    return continue_from.state


def run_rollout(
    world: HostedWorld, start: Tensor | RolloutState, actions: ActionChoice | None, plan: RolloutPlan
) -> tuple[Rollout, ActionChoice]:
    """Run the library's rollout with the host's memory, progress bar and interrupt; also return what was done."""
    with world.run(plan.rollouts * (max(plan.config.context_window, 4) + plan.config.horizon)) as loaded:
        result = rollout(
            loaded,
            start,
            steps=plan.steps,
            actions="diversity" if actions is None else actions.list_actions(world.sizes),
            batch=None if plan.rollouts == 1 else plan.rollouts,
            seed=plan.seed,
            on_progress=RolloutWatch(),
            config=plan.config,
        )
    return result, ActionChoice(None if result.actions is None else result.actions.tolist(), result.state)


class TrueVideo(NamedTuple):
    """Images of which the actions are to be read, and what to do where they have another size than the world's."""

    world: HostedWorld | None
    frames: Tensor | None
    resize: str


def choose_actions(source: str, text: str, video: TrueVideo, hidden: io.HiddenHolder) -> ActionChoice:
    """Return the actions that a source names: a written list, a rule, or those seen in a video, which are shown.

    Raises:
        ValueError: The text holds no list, or the video cannot be read.
    """
    if source == LIST:
        return read_actions(text, video.world)
    if source != INFER:
        return ActionChoice(parse_actions(source))  # type: ignore[arg-type]
    choice = infer_action_choice(video)
    show_text(hidden, format_actions(choice.actions, video.world.sizes.action_names if video.world else ()))
    return choice


def read_actions(text: str, world: HostedWorld | None) -> ActionChoice:
    """Read a list; with names, and no world that knows them, as a text for the rollout to look up.

    Raises:
        ValueError: The text holds no list.
    """
    names = world.sizes.action_names if world else ()
    has_names = re.search(r"[^\W\d_]{2}", text) is not None
    return ActionChoice(None, text=text) if has_names and not names else ActionChoice(parse_action_lists(text, names))


def infer_action_choice(video: TrueVideo) -> ActionChoice:
    """Return the actions that the world's latent action model sees between the frames of a video.

    Raises:
        ValueError: The world or the frames are not connected, or the world has no latent action model.
    """
    world, frames, resize = video
    if world is None or frames is None:
        missing = "world" if world is None else "frames"
        raise ValueError(f"{missing}: nothing is connected; '{INFER}' needs a WORLD_MODEL and a video (IMAGE).")
    clip = to_frames(frames, world.sizes, resize)
    with world.run(clip.shape[1]) as loaded:
        return ActionChoice(infer_actions(loaded, clip).tolist())


class RolloutWatch:
    """The host's progress bar for a rollout: one tick for each MaskGIT step, a preview of each finished frame.

    It also lets the user interrupt between steps.
    """

    def __init__(self) -> None:
        self._bar: comfy.utils.ProgressBar | None = None

    def __call__(self, progress: RolloutProgress) -> None:
        """Move the bar to where the rollout is."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        total = progress.steps * progress.maskgit_steps
        self._bar = self._bar or comfy.utils.ProgressBar(total)
        preview = None if progress.finished is None else _make_preview(progress.finished)
        self._bar.update_absolute(progress.step * progress.maskgit_steps + progress.maskgit_step, total, preview)


def _make_preview(frames: Tensor) -> tuple[str, Any, int]:
    newest = to_images(frames)[:1, -1]
    image = to_pil(enlarge(newest, max(1, _PREVIEW_SIDE // newest.shape[1]))[0])
    return ("JPEG", image, _PREVIEW_SIDE)
