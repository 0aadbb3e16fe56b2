"""``wan-lite play``: step into a world, in a page on this machine, or without one by a list of actions."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import check_folder
from ..terminal import say
from . import inputs
from .session_files import arrange_video, describe_source, join_context, write_session

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.world import RolloutConfig, World

__all__ = ["add_play", "run_play"]


def add_play(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``play``."""
    inputs.add_world_arguments(parser)
    parser.add_argument("--fps", type=float, default=8, help="frames a second, and of the video (default: 8)")
    parser.add_argument("--scale", type=int, default=8, help="enlarge pixels of the video by this factor (default: 8)")
    parser.add_argument("--port", type=int, default=0, help="port of the page on 127.0.0.1 (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address, and do not open it")
    group = parser.add_argument_group("without a page")
    group.add_argument("--headless", action="store_true", help="play --actions and write --out and --record")
    group.add_argument("--actions", help="ids such as '0,3,3x4', or the world's names for them")
    group.add_argument("--out", default="out/play.webp", help="video to write: .gif, .webp, .png, .mp4, ...")
    group.add_argument("--record", type=Path, metavar="FILE", help="also write the session, for rollout --session")
    inputs.add_prediction_arguments(parser)
    inputs.add_common_arguments(parser)
    parser.set_defaults(run=run_play)


def run_play(options: argparse.Namespace) -> None:
    """Open the page and wait, or play without one."""
    if not 0.1 <= options.fps <= 240 or not 1 <= options.scale <= 64:
        raise ValueError(f"--fps {options.fps}, --scale {options.scale}; allowed are 0.1 to 240, and 1 to 64.")
    if not 0 <= options.port <= 65535:
        raise ValueError(f"--port is {options.port}; allowed are 0 (a free one) to 65535.")
    if options.headless:
        _play_headless(options)
        return
    from .play_server import Game, serve

    world, config, context = _open(options)
    game = Game(world, context, config, options.seed, options.fps, options.scale, describe_source(options))

    def ready(address: str) -> None:
        say(f"{address}\nOpen this address in a browser on this machine; Ctrl+C ends.")
        if not options.no_browser:
            webbrowser.open(address)

    serve(game, options.port, ready)


def _open(options: argparse.Namespace) -> tuple[World, RolloutConfig, Tensor]:
    """Load the world and the frames to start from, (1, t, 3, S, S)."""
    from ...pipeline.videos.reading import Excerpt

    world, config = inputs.load_world_of(options), inputs.make_config(options)
    video = inputs.open_clip(options, world)
    wanted = Excerpt(options.start, options.every, config.context_window or options.frames)
    return world, config, inputs.read_clip(video, wanted, world)[None]


def _play_headless(options: argparse.Namespace) -> None:
    from ...models.world import WorldSession, parse_actions
    from ...pipeline.videos.writing import check_video_name, write_video

    out = Path(options.out)
    check_video_name(out, options.fps)
    check_folder(out.parent)
    world, config, context = _open(options)
    actions = parse_actions(options.actions or "", world.action_names)
    if not isinstance(actions, list):
        raise ValueError("--headless plays what --actions lists; write ids such as '0, 3, 3x4'.")
    session = WorldSession(world, context, config, options.seed)
    with inputs.StepBar(options, len(actions)) as bar:
        for action in actions:
            session.step(action)
            bar.bar.update()
    write_video(arrange_video(join_context(context, session.frames()), options.scale), out, options.fps)
    say(out)
    if options.record:
        write_session(options.record, session.record(), describe_source(options))
        say(options.record)
