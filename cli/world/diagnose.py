"""``wan-lite diagnose``: measure where a world model's rollout drifts from a true video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import check_folder
from ..terminal import say
from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.world import RolloutConfig, SessionRecord, World

__all__ = ["add_diagnose", "run_diagnose"]

TEST_FRAMES = 4  # of a test, as TinyWorlds' own diagnosis of July 2025 has it


def add_diagnose(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``diagnose``."""
    inputs.add_world_arguments(parser)
    parser.add_argument(
        "--tests",
        type=int,
        metavar="N",
        help="diagnose N excerpts of --frames frames (default: 4), spread evenly over the video, and give means and "
        "standard deviations; without it, the video as one",
    )
    parser.add_argument(
        "--session",
        type=Path,
        metavar="FILE",
        help="a session that was played, against --clip, which shows its context and then what its actions truly do: "
        "actions, seed and settings are the session's, and its world where none is given",
    )
    inputs.add_prediction_arguments(parser)
    parser.add_argument("--out", default="out/diagnose", help="folder for report, chart and images")
    inputs.add_common_arguments(parser)
    parser.set_defaults(run=run_diagnose)


def run_diagnose(options: argparse.Namespace) -> None:
    """Measure the four arms; print the report and write it with its chart and images."""
    from ...atomic import replacing
    from ...models.world import diagnose
    from ...pipeline.pictures.convert import save_image, to_pil
    from ...pipeline.pictures.diagnosis import compare_arms, draw_diagnosis_chart
    from ...pipeline.pictures.layout import make_contact_sheet
    from ...pipeline.similarity import has_ssim, measure_ssim

    folder, session = check_folder(Path(options.out)), _read_session(options)
    world = inputs.load_world_of(options)
    config = inputs.make_config(options) if session is None else session.settings[0][1]
    videos = _read_videos(options, world, config)
    metrics = {"SSIM": measure_ssim} if has_ssim() else {}
    total = 2 * config.maskgit_steps * max(videos.shape[1] - config.context_window, 1)
    with inputs.StepBar(options, total) as bar:
        found = diagnose(
            world, videos, config=config, seed=options.seed, metrics=metrics, on_progress=bar, session=session
        )
    report = found.report() + ("" if metrics else "\nSSIM: not measured; it needs kornia (pip install wan-lite[world])")
    say(report)
    with replacing(folder / "report.txt") as part:
        part.write_text(report + "\n", encoding="utf-8")
    save_image(draw_diagnosis_chart(found), folder / "drift.png")
    rows = compare_arms(found)
    sheet = make_contact_sheet(rows.flatten(0, 1), columns=rows.shape[1])[0]
    save_image(to_pil(sheet, "round"), folder / "frames.png")
    for name in ("report.txt", "drift.png", "frames.png"):
        say(folder / name)


def _read_session(options: argparse.Namespace) -> SessionRecord | None:
    """Return the session to compare, if any; options say its world then, and the video as they are given."""
    from .session_files import read_session

    if options.session is None:
        return None
    if options.tests is not None:
        raise ValueError("--session: is compared with one video; leave --tests out.")
    given = {name: getattr(options, name) for name in ("clip", "start", "every", "resize")}
    session = read_session(options.session, options)
    vars(options).update(given)
    return session


def _read_videos(options: argparse.Namespace, world: World, config: RolloutConfig) -> Tensor:
    """Read the whole video, or the excerpts that ``--tests`` asks for: (b, t, 3, S, S)."""
    import torch

    from ...pipeline.videos.reading import Excerpt

    video = inputs.open_clip(options, world)
    if options.tests is None:
        return inputs.read_clip(video, Excerpt(options.start, options.every, options.frames), world)[None]
    if options.tests < 1:
        raise ValueError(f"--tests is {options.tests}; allowed are whole numbers from 1.")
    length = options.frames or max(TEST_FRAMES, config.context_window + 1)
    last = video.count - 1 - (length - 1) * options.every
    if last < options.start:
        raise ValueError(
            f"{video.name}: has {video.count} frames, too few for a test of {length} of them from number "
            f"{options.start} on; give a smaller --frames, --start or --every."
        )
    starts = torch.linspace(options.start, last, options.tests).round().long().tolist()
    return torch.stack([inputs.read_clip(video, Excerpt(start, options.every, length), world) for start in starts])
