"""``wan-lite rollout`` and ``wan-lite diagnose``: play a world forward, and measure where it drifts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import add_machine_arguments, torch_device, torch_dtype, writable_folder

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.world import Rollout, RolloutConfig, RolloutProgress, World
    from ..models.world.actions import Actions

__all__ = ["add_diagnose", "add_rollout", "run_diagnose", "run_rollout"]

SETTINGS = (
    "context_window", "horizon", "maskgit_steps", "schedule_k", "temperature", "top_k", "top_p", "action_guidance",
    "feedback", "clamp", "action_diversity", "context_actions", "latent_noise", "draw",
)  # fmt: skip
"""Fields of RolloutConfig that options of the same name set."""


def add_rollout(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``rollout``."""
    _add_world_arguments(parser)
    parser.add_argument("--steps", type=int, default=10, help="predictions, of --horizon frames each (default: 10)")
    parser.add_argument(
        "--actions",
        default="diversity",
        help="ids such as '0,3,3x4' (the last is repeated), random, repeat, diversity, none, or infer: those that the "
        "latent action model reads from the clip after the context (default: diversity)",
    )
    parser.add_argument("--batch", type=int, default=1, help="rollouts from one context, seeds counted up (default: 1)")
    _add_settings(parser)
    parser.add_argument("--out", default="out/rollout.webp", help="video to write: .gif, .webp, .png, .mp4, ...")
    parser.add_argument("--sheet", help="also write all frames on one page, to this file")
    parser.add_argument("--fps", type=float, default=8, help="of the clip (default: 8)")
    parser.add_argument("--scale", type=int, default=4, help="enlarge pixels by this factor (default: 4)")
    parser.add_argument("--overlay", action="store_true", help="write step and action above every frame")
    _add_common(parser)
    parser.set_defaults(run=run_rollout)


def add_diagnose(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``diagnose``."""
    _add_world_arguments(parser)
    _add_settings(parser)
    parser.add_argument("--out", default="out/diagnose", help="folder for report, chart and images")
    parser.set_defaults(actions=None)
    _add_common(parser)
    parser.set_defaults(run=run_diagnose)


def run_rollout(options: argparse.Namespace) -> None:
    """Predict frames and write them as a clip."""
    from ..models.world import rollout
    from ..pipeline.pictures.convert import save_image, to_pil
    from ..pipeline.pictures.layout import make_contact_sheet
    from .videos import check_video_name, write_video

    out, scale = Path(options.out), options.scale
    check_video_name(out, options.fps)
    if not 1 <= scale <= 64:
        raise ValueError(f"--scale is {scale}; allowed are whole numbers from 1 to 64.")
    writable_folder(out.parent)
    if options.sheet:
        if not options.sheet.lower().endswith((".png", ".jpg", ".jpeg", ".webp")):
            raise ValueError(f"--sheet is {options.sheet!r}; give a file name ending in .png, .jpg or .webp.")
        writable_folder(Path(options.sheet).parent)
    world, clip = _load_world(options), _read_clip(options)
    config = _make_config(options)
    clip = _fit_clip(world, clip, options)
    with _Bar(options, config.maskgit_steps * options.steps) as bar:
        result = rollout(
            world,
            clip[: config.context_window or None],
            steps=options.steps,
            actions=_choose_actions(options.actions, world, clip, config),
            seed=options.seed,
            batch=options.batch,
            on_progress=bar,
            config=config,
        )
    shown = _lay_out(result, options)
    write_video(shown, out, options.fps)
    print(out)
    if options.sheet:
        save_image(to_pil(make_contact_sheet(shown)[0], "round"), options.sheet)
        print(options.sheet)
    if result.actions is not None:
        print("\n".join("actions: " + ", ".join(map(str, row)) for row in result.actions.tolist()))


def run_diagnose(options: argparse.Namespace) -> None:
    """Measure the four arms; print the report and write it with its chart and images."""
    from ..atomic import replacing
    from ..models.world import diagnose
    from ..pipeline.pictures.convert import save_image, to_pil
    from ..pipeline.pictures.diagnosis import compare_arms, draw_diagnosis_chart
    from ..pipeline.pictures.layout import make_contact_sheet

    folder = writable_folder(Path(options.out))
    world = _load_world(options)
    clip = _fit_clip(world, _read_clip(options), options)
    config = _make_config(options)
    with _Bar(options, 2 * config.maskgit_steps * max(len(clip) - config.context_window, 1)) as bar:
        found = diagnose(world, clip, config=config, seed=options.seed, on_progress=bar)
    print(found.report())
    with replacing(folder / "report.txt") as part:
        part.write_text(found.report() + "\n", encoding="utf-8")
    save_image(draw_diagnosis_chart(found), folder / "drift.png")
    rows = compare_arms(found)
    sheet = make_contact_sheet(rows.flatten(0, 1), columns=rows.shape[1])[0]
    save_image(to_pil(sheet, "round"), folder / "frames.png")
    for name in ("report.txt", "drift.png", "frames.png"):
        print(folder / name)


def _add_world_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--world", help="a world: one file, or the folder of a training run")
    parser.add_argument("--tokenizer", help="instead of --world: the video tokenizer's checkpoint")
    parser.add_argument("--action-model", help="... the latent action model's checkpoint")
    parser.add_argument("--dynamics", help="... the dynamics model's checkpoint")
    parser.add_argument("--clip", required=True, help="true frames: image, animation, video or folder of images")
    parser.add_argument("--start", type=int, default=0, help="frames of the clip to skip (default: 0)")
    parser.add_argument("--every", type=int, default=1, help="take each n-th frame of the clip (default: 1)")
    parser.add_argument("--frames", type=int, help="use no more than this many frames of the clip")
    parser.add_argument("--resize", action="store_true", help="crop and resize the clip to the world's frame size")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prediction")
    group.add_argument("--context-window", type=int, default=2, help="frames that a prediction sees (default: 2)")
    group.add_argument("--horizon", type=int, default=1, help="frames predicted together (default: 1)")
    group.add_argument("--maskgit-steps", type=int, default=10, help="passes for each prediction (default: 10)")
    group.add_argument("--schedule-k", type=float, default=5.0, help="steepness of the passes' schedule (default: 5)")
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
    group.add_argument(
        "--latent-noise", type=float, default=0.0, help="July 2025 format: noise on latents (default: 0)"
    )
    group.add_argument(
        "--draw", choices=["masked", "all"], default="masked", help="all: the original's samples for a seed"
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="rollout i of a batch uses seed + i (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_machine_arguments(parser)


def _load_world(options: argparse.Namespace) -> World:
    from ..models.world import load_world

    return load_world(
        options.world,
        tokenizer=options.tokenizer,
        actions=options.action_model,
        dynamics=options.dynamics,
        dtype=torch_dtype(options.precision),
        device=torch_device(options.device),
    )


def _read_clip(options: argparse.Namespace) -> Tensor:
    from .videos import read_video

    return read_video(options.clip, start=options.start, every=options.every, limit=options.frames)


def _fit_clip(world: World, clip: Tensor, options: argparse.Namespace) -> Tensor:
    from ..models.world import fit_frames

    size = world.frame_size
    if clip.shape[-2:] != (size, size) and not options.resize:
        raise ValueError(
            f"--clip has {clip.shape[-1]}x{clip.shape[-2]} pixels, but this world was trained on {size}x{size}; "
            "add --resize to crop and resize it."
        )
    return fit_frames(clip, size)


def _make_config(options: argparse.Namespace) -> RolloutConfig:
    from ..models.world import RolloutConfig

    return RolloutConfig(**{name: getattr(options, name) for name in SETTINGS})


def _choose_actions(text: str, world: World, clip: Tensor, config: RolloutConfig) -> Actions:
    from ..models.world import infer_actions, parse_actions

    if text != "infer":
        return parse_actions(text)
    following = clip[max(config.context_window, 1) - 1 :]
    if len(following) < 2:
        raise ValueError("--actions infer needs a clip that continues after the context; give more frames.")
    return infer_actions(world, following[None])[0]


def _lay_out(result: Rollout, options: argparse.Namespace) -> Tensor:
    """Return the frames as people see them: (t, H, W, 3) in [0, 1], a batch side by side."""
    import torch
    from einops import rearrange

    from ..pipeline.pictures.convert import to_unit
    from ..pipeline.pictures.layout import draw_labels, enlarge, put_side_by_side

    rollouts = to_unit(rearrange(result.frames.clamp(-1, 1), "b t c h w -> b t h w c"))
    shown = []
    for item, frames in enumerate(rollouts):
        frames = enlarge(frames, options.scale)
        shown.append(draw_labels(frames, _label_frames(result, item)) if options.overlay else frames)
    return put_side_by_side(torch.stack(shown))


def _label_frames(result: Rollout, item: int) -> list[str]:
    count = result.new_frames.shape[1]
    actions = [""] * count if result.actions is None else [f" action {a}" for a in result.actions[item].tolist()]
    return ["context"] * result.context_frames + [f"{i + 1}{action}" for i, action in enumerate(actions)]


class _Bar:
    """A progress bar that counts MaskGIT steps; rollouts call it."""

    def __init__(self, options: argparse.Namespace, total: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit="pass", disable=options.quiet)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, progress: RolloutProgress) -> None:
        if progress.finished is None:
            self.bar.update()
