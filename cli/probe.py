"""``wan-lite probe``: which sampling a student wants, from evidence."""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import add_machine_arguments, torch_device, torch_dtype, writable_folder
from .sample import add_text_arguments, read_prompts
from .terminal import make_bar, say

if TYPE_CHECKING:
    from ..models.student import Student
    from ..pipeline.probing import ProbeReport
    from ..samplers.contract import SamplingContract

__all__ = ["add_probe", "run_probe"]

DEFAULT_OUT = "out/probe"


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``probe``."""
    parser.add_argument("--student", required=True, help="a student's folder or single file")
    add_text_arguments(parser)
    parser.add_argument("--vae", help="also decode: with it a grid of the candidates' images is written")
    parser.add_argument(
        "--candidate", metavar="PRESET", action="append", help="a named way of sampling to try; repeat (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the starting noise (default: 0)")
    parser.add_argument("--batch", type=int, default=4, help="latents of each candidate: more is steadier (default: 4)")
    parser.add_argument(
        "--out", default=DEFAULT_OUT, help=f"folder for the chart and the grid (default: {DEFAULT_OUT})"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_machine_arguments(parser)
    parser.set_defaults(run=run_probe)


def run_probe(options: argparse.Namespace) -> None:
    """Run the candidates, print the report, write the chart and, with a VAE, the grid."""
    from ..models import load_student, load_wan_vae
    from ..pipeline.contracts import find_preset
    from ..pipeline.generation import check_vae, decode_images
    from ..pipeline.pictures.convert import save_image
    from ..pipeline.pictures.probe import draw_probe_chart, draw_probe_grid
    from ..samplers.contract import PRESETS

    dtype, device = torch_dtype(options.precision), torch_device(options.device)
    # Only the network is probed: a contract that is there is not asked.
    student = load_student(options.student, dtype=dtype, device=device, preset=next(iter(PRESETS)))
    names = options.candidate or list(PRESETS)
    candidates = {name: find_preset(name, student) for name in names}
    vae = None if options.vae is None else load_wan_vae(options.vae, dtype=dtype, device=device, video=False)
    if vae is not None:
        check_vae(student, vae)
    folder = writable_folder(Path(options.out))
    report = run_candidates(student, candidates, options)
    say(report)
    words = shlex.join(["wan-lite", "stamp", options.student, "--contract", report.best.name])
    say(f"To keep this with the checkpoint: {words}")
    save_image(draw_probe_chart(report), folder / "levels.png")
    say(folder / "levels.png")
    if vae is not None:
        save_image(draw_probe_grid(report, partial(decode_images, student, vae)), folder / "grid.png")
        say(folder / "grid.png")


def run_candidates(
    student: Student, candidates: dict[str, SamplingContract], options: argparse.Namespace
) -> ProbeReport:
    """Run the probe on the first of the prompts, at the student's own size, with a progress bar."""
    from ..models.student import pool_text
    from ..pipeline.probing import probe

    text = pool_text(list(read_prompts(options)[0][1].positive))
    size = student.config.latent_size
    with make_bar(options, len(candidates), "candidate") as bar:
        return probe(
            lambda x, timestep: student.network(x, timestep, text),
            candidates,
            (options.batch, student.config.num_channels, size, size),
            seed=options.seed,
            finish=student.to_vae_latent,
            on_run=lambda done, total: bar.update() and None,
        )
