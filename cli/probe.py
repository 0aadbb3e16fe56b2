"""``wan-lite probe``: which sampling a student wants, from evidence."""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import add_machine_arguments, check_folder, torch_device, torch_dtype
from .prompts import add_text_arguments, read_jobs, use_teacher
from .terminal import make_bar, say

if TYPE_CHECKING:
    from ..models.student import Student
    from ..models.wan_vae.vae import WanVAE
    from ..pipeline.probing import ProbeReport
    from ..samplers.contract import SamplingContract

__all__ = ["add_probe", "run_probe"]

DEFAULT_OUT = "out/probe"
OWN = "the student's own contract"


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
    from ..pipeline.pictures.convert import save_image
    from ..pipeline.pictures.probe import draw_probe_chart

    folder = check_folder(Path(options.out))
    use_teacher(options)
    student = _load_student(options)
    candidates = _list_candidates(student, options)
    vae = _load_vae(student, options)
    report = run_candidates(student, candidates, options)
    say(report)
    say(_advise(report, options))
    save_image(draw_probe_chart(report), folder / "levels.png")
    say(folder / "levels.png")
    if vae is not None:
        _write_grid(report, student, vae, folder / "grid.png")


def _load_student(options: argparse.Namespace) -> Student:
    from ..models import load_student
    from ..samplers.contract import PRESETS

    # Only the network is probed: a contract that is there is a candidate like others, and none is needed.
    dtype, device = torch_dtype(options.precision), torch_device(options.device)
    return load_student(options.student, dtype=dtype, device=device, preset=next(iter(PRESETS)))


def _load_vae(student: Student, options: argparse.Namespace) -> WanVAE | None:
    from ..models import load_wan_vae
    from ..pipeline.generation import check_vae

    if options.vae is None:
        return None
    dtype, device = torch_dtype(options.precision), torch_device(options.device)
    vae = load_wan_vae(options.vae, dtype=dtype, device=device, video=False)
    check_vae(student, vae)
    return vae


def _list_candidates(student: Student, options: argparse.Namespace) -> dict[str, SamplingContract]:
    """Return the presets to try, and the contract that the student has already."""
    from ..pipeline.contracts import find_preset
    from ..samplers.contract import PRESETS

    found = {name: find_preset(name, student) for name in options.candidate or PRESETS}
    own = student.contract
    return found if own is None or own.source == "assumed" else {OWN: own, **found}


def _advise(report: ProbeReport, options: argparse.Namespace) -> str:
    """Say how to keep what was found, where that is better than what the student has already."""
    if not report.is_usable:
        return "Nothing to keep: no candidate gave finite latents."
    if any(item.name == OWN for item in report.ranking) and report.fits_as_well(OWN):
        return "Nothing to keep: the student's own contract fits as well as any."
    words = ["wan-lite", "stamp", options.student, "--contract", report.best.name]
    return f"To keep this with the checkpoint: {shlex.join(words)}"


def _write_grid(report: ProbeReport, student: Student, vae: WanVAE, path: Path) -> None:
    from ..pipeline.generation import decode_images
    from ..pipeline.pictures.convert import save_image
    from ..pipeline.pictures.probe import draw_probe_grid

    save_image(draw_probe_grid(report, partial(decode_images, student, vae)), path)
    say(path)


def run_candidates(
    student: Student, candidates: dict[str, SamplingContract], options: argparse.Namespace
) -> ProbeReport:
    """Run the probe on the first of the prompts, at the student's own size, with a progress bar."""
    from ..models.student import pool_text
    from ..pipeline.probing import probe

    text = pool_text(list(read_jobs(options)[0].prompts.positive))
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
