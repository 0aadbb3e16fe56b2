"""``wan-lite rollout``: play a world model forward from the frames of a video."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import check_folder, check_sheet_name
from ..terminal import say
from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.world import Rollout, RolloutConfig, World
    from ...models.world.actions import Actions

__all__ = ["add_rollout", "run_rollout"]


def add_rollout(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``rollout``."""
    inputs.add_world_arguments(parser, needs_clip=False)
    parser.add_argument(
        "--session",
        type=Path,
        metavar="FILE",
        help="a session that was played: its actions, seed and settings instead of those given here, and its world and "
        "clip where none are given",
    )
    parser.add_argument("--steps", type=int, default=10, help="predictions, of --horizon frames each (default: 10)")
    parser.add_argument(
        "--actions",
        default="diversity",
        help="ids such as '0,3,3x4' or the names of the world's actions (the last is repeated), random, repeat, "
        "diversity, none, or infer: those that the latent action model reads from the video after the context "
        "(default: diversity)",
    )
    parser.add_argument("--batch", type=int, default=1, help="rollouts from one context, seeds counted up (default: 1)")
    inputs.add_prediction_arguments(parser)
    parser.add_argument("--out", default="out/rollout.webp", help="video to write: .gif, .webp, .png, .mp4, ...")
    parser.add_argument("--sheet", type=Path, help="also write all frames on one page, to this file")
    parser.add_argument("--fps", type=float, default=8, help="of the video (default: 8)")
    parser.add_argument("--scale", type=int, default=4, help="enlarge pixels by this factor (default: 4)")
    parser.add_argument("--overlay", action="store_true", help="write step and action above every frame")
    inputs.add_common_arguments(parser)
    parser.set_defaults(run=run_rollout)


def run_rollout(options: argparse.Namespace) -> None:
    """Predict frames and write them as a video."""
    from ...pipeline.pictures.convert import save_image, to_pil
    from ...pipeline.pictures.layout import make_contact_sheet
    from ...pipeline.rollouts import format_actions
    from ...pipeline.videos.writing import write_video

    out = _check_outputs(options)
    result, names = _replay(options) if options.session else _roll(options)
    shown = _arrange(result, options, names)
    write_video(shown, out, options.fps)
    say(out)
    if options.sheet:
        save_image(to_pil(make_contact_sheet(shown)[0], "round"), options.sheet)
        say(options.sheet)
    if result.actions is not None:
        rows = format_actions(result.actions.tolist(), names).splitlines()
        say("\n".join(f"actions: {row}" for row in rows))


def _roll(options: argparse.Namespace) -> tuple[Rollout, tuple[str, ...]]:
    """Predict as the options say; also return the names of the world's actions."""
    from ...models.world import rollout

    if options.clip is None:
        raise ValueError("--clip is missing; name the video to start from, or a --session that names one.")
    world, config = inputs.load_world_of(options), inputs.make_config(options)
    context, actions = _read_context(options, world, config)
    with inputs.StepBar(options, config.maskgit_steps * options.steps) as bar:
        result = rollout(
            world,
            context,
            steps=options.steps,
            actions=actions,
            seed=options.seed,
            batch=options.batch,
            on_progress=bar,
            config=config,
        )
    return result, world.action_names


def _replay(options: argparse.Namespace) -> tuple[Rollout, tuple[str, ...]]:
    """Make the frames of a session again; also return the names of the world's actions."""
    from ...models.world import replay
    from ...pipeline.videos.reading import Excerpt
    from .session_files import read_session

    record = read_session(options.session, options)
    if options.clip is None:
        raise ValueError(f"{options.session.name}: does not name its video; give it with --clip.")
    world, first = inputs.load_world_of(options), record.settings[0][1]
    wanted = Excerpt(options.start, options.every, first.context_window or options.frames)
    context = inputs.read_clip(inputs.open_clip(options, world), wanted, world)
    with inputs.StepBar(options, first.maskgit_steps * record.steps) as bar:
        return replay(world, context, record, bar), world.action_names


def _check_outputs(options: argparse.Namespace) -> Path:
    """Refuse, before the work, what could not be written after it."""
    from ...pipeline.videos.writing import check_video_name

    out = Path(options.out)
    check_video_name(out, options.fps)
    if not 1 <= options.scale <= 64:
        raise ValueError(f"--scale is {options.scale}; allowed are whole numbers from 1 to 64.")
    check_folder(out.parent)
    if options.sheet:
        check_sheet_name(options.sheet)
        check_folder(options.sheet.parent)
    return out


def _read_context(options: argparse.Namespace, world: World, config: RolloutConfig) -> tuple[Tensor, Actions]:
    """Read the frames to start from, and choose the actions: for ``infer`` the rest of the video is read, too."""
    from ...models.world import infer_actions, parse_actions
    from ...pipeline.videos.reading import Excerpt

    video, infer = inputs.open_clip(options, world), options.actions == "infer"
    actions: Actions = None if infer else parse_actions(options.actions, world.action_names)
    window, wanted = config.context_window or None, Excerpt(options.start, options.every, options.frames)
    if window is not None and not infer:
        wanted = replace(wanted, limit=min(window, wanted.limit or window))
    clip = inputs.read_clip(video, wanted, world)
    if infer:
        following = clip[max(config.context_window, 1) - 1 :]
        if len(following) < 2:
            raise ValueError("--actions infer needs a video that continues after the context; give more frames.")
        actions = infer_actions(world, following[None])[0]
    return clip[:window], actions


def _arrange(result: Rollout, options: argparse.Namespace, names: tuple[str, ...]) -> Tensor:
    """Return the frames as people see them: (t, H, W, 3) in [0, 1], a batch side by side."""
    import torch
    from einops import rearrange

    from ...pipeline.pictures.convert import to_unit
    from ...pipeline.pictures.layout import arrange_frames, enlarge
    from ...pipeline.rollouts import label_frames

    rollouts = to_unit(rearrange(result.frames.clamp(-1, 1), "b t c h w -> b t h w c"))
    frames = torch.stack([enlarge(frames, options.scale) for frames in rollouts])
    return arrange_frames(frames, "side by side", label_frames(result, True, names) if options.overlay else None)
