"""``wan-lite sample``: from a student, a VAE and text to PNGs."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..on_mismatch import ON_MISMATCH
from .arguments import add_machine_arguments, torch_device, torch_dtype
from .image_output import Sheet, Targets
from .prompts import add_text_arguments, read_jobs, use_teacher
from .sampling_run import Run, Sampling, parse_list, parse_seeds, plan_runs
from .terminal import make_bar, say

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..models.student import Student
    from ..models.wan_vae.vae import WanVAE
    from ..pipeline.generation import Variation
    from ..samplers.contract import SamplingContract

__all__ = ["add_sample", "run_sample"]


def add_sample(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sample``."""
    parser.add_argument("--student", required=True, help="a student's folder (as WanDistiller saves it) or single file")
    parser.add_argument("--vae", help="a Wan VAE: .pth, .safetensors or diffusers folder; by default --teacher's")
    parser.add_argument(
        "--lora", action="append", metavar="FILE[:STRENGTH]", help="merge a LoRA into the student; may be repeated"
    )
    add_text_arguments(parser)
    _add_sampling_arguments(parser)
    _add_image_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="image i of a batch uses seed + i (default: 0)")
    parser.add_argument("--seeds", metavar="LIST", help="instead of --seed: seeds such as 0-19,42; one image each")
    parser.add_argument(
        "--batch", type=int, default=1, help="images of each prompt; with --seeds, images at a time (default: 1)"
    )
    parser.add_argument(
        "--out",
        default="out",
        help="folder, file name ending in .png, or a pattern such as 'out/{caption}_{seed}' of {caption}, {number}, "
        "{seed}, {steps}, {student} (default: out)",
    )
    parser.add_argument("--sheet", type=Path, help="also write all images on one page, a row for each prompt")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--offload", action="store_true", help="keep on --device only the network that is at work")
    add_machine_arguments(parser)
    parser.set_defaults(run=run_sample)


def _add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling", "Without these, the student's own contract decides.")
    group.add_argument("--contract", metavar="PRESET", help="a named way of sampling, such as 'flow_unipc-20 shift 5'")
    group.add_argument(
        "--sampler", metavar="NAME", help="a solver, such as ddim (of the training loop) or flow-unipc (Wan's own)"
    )
    group.add_argument("--steps", metavar="LIST", help="how many times the network is called; several, such as 4,8,20")
    group.add_argument("--shift", type=float, help="applied once, in the schedule; 1 is none")
    group.add_argument("--cfg", type=float, help="guidance; 1 is none, as students are trained; else give --negative")
    group.add_argument("--size", metavar="WxH", help="pixels of the image; the size of training by default")
    group.add_argument("--eta", type=float, default=0.0, help="noise that ddim adds at each step, 0 to 1 (default: 0)")
    group.add_argument("--clip-x0", type=float, metavar="X", help="limit ddim's clean latent to [-X, X]")
    group.add_argument(
        "--on-mismatch",
        choices=ON_MISMATCH,
        default="error",
        help="what to do where these contradict the student's contract (default: error)",
    )


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("from an image")
    group.add_argument("--image", type=Path, help="start from this image, cropped and resized where it must be")
    group.add_argument("--denoise", type=float, help="share of the schedule that is run on --image, up to 1")
    group.add_argument("--mask", type=Path, help="an image: sample only where it is white, and keep --image elsewhere")


def run_sample(options: argparse.Namespace) -> None:
    """Load, sample, decode, write, and print what was written."""
    from ..samplers.formatting import format_contract

    targets, sheet = _check_outputs(options)
    seeds = parse_seeds(options)
    student, contracts = _load_student(options)
    sampling = _load_sampling(options, student, contracts[0])
    runs = plan_runs(read_jobs(options), contracts, seeds, options)
    for contract in contracts:
        say(f"contract: {format_contract(contract)}")
    sheet.columns = len(seeds) if len(runs) > 1 else 0
    images = sum(len(run.seeds) for run in runs)
    number = 0
    with make_bar(options, sum(run.contract.schedule().steps for run in runs), "step") as bar:
        for run in runs:
            for seed, image in zip(run.seeds, sampling.sample(run, lambda *_: bar.update() and None), strict=True):
                number += 1
                path = targets.choose(_describe(run, seed) | {"number": number, "student": targets.stem}, images)
                _save(path, image, run, seed, student)
                sheet.add(f"{run.job.caption}\nseed {seed}, {run.contract.steps} steps", image)
    _say_written(sheet.write())


def _check_outputs(options: argparse.Namespace) -> tuple[Targets, Sheet]:
    """Refuse, before anything is loaded, what could not be written."""
    targets, sheet = Targets(options.out, Path(options.student).absolute().stem), Sheet(options.sheet)
    targets.check()
    sheet.check()
    for name in ("mask", "denoise"):
        if options.image is None and getattr(options, name) is not None:
            raise ValueError(f"--{name} works on an image; add --image FILE.")
    return targets, sheet


def _load_student(options: argparse.Namespace) -> tuple[Student, list[SamplingContract]]:
    """Load the student with its LoRAs, and resolve one contract for each number of steps."""
    from ..models import load_student
    from ..pipeline.contracts import Overrides, find_sampler, resolve_contract

    preset = options.contract or (options.sampler and find_sampler(options.sampler))
    student = load_student(
        options.student, dtype=torch_dtype(options.precision), device=_choose_home(options), preset=preset
    )
    for lora in options.lora or ():
        _merge(student, lora)
    overrides = Overrides(options.contract, options.sampler, None, options.shift, options.cfg, options.size)
    counts = [None] if options.steps is None else parse_list("--steps", options.steps, "4,8,20")
    return student, [
        resolve_contract(student, replace(overrides, steps=count), on_mismatch=options.on_mismatch) for count in counts
    ]


def _load_sampling(options: argparse.Namespace, student: Student, contract: SamplingContract) -> Sampling:
    from ..models import load_wan_vae
    from ..pipeline.generation import check_vae

    use_teacher(options)
    if options.vae is None:
        raise ValueError("no VAE is given; add --vae FILE, or --teacher FOLDER with a downloaded Wan that has one.")
    vae = load_wan_vae(options.vae, dtype=torch_dtype(options.precision), device=_choose_home(options), video=False)
    check_vae(student, vae)
    device = torch_device(options.device) if options.offload else None
    return Sampling(student, vae, _make_variation(options, student, vae, contract), device)


def _choose_home(options: argparse.Namespace) -> torch.device:
    """Return where the networks lie while they do not work."""
    device = torch_device(options.device)
    return torch_device("cpu") if options.offload else device


def _merge(student: Student, argument: str) -> None:
    from ..models import merge_lora, read_contract
    from ..models.student import fit_contract

    file, strength = _split_strength(argument)
    changed, contract = merge_lora(student.network, file, strength), read_contract(file)
    if contract is not None:  # it says how the student is to be sampled with it
        student.contract = fit_contract(contract, student.config, student.vae_channels)
    say(f"{file}: {changed} weights changed, strength {strength:g}")


def _split_strength(argument: str) -> tuple[str, float]:
    """Split ``FILE[:STRENGTH]``; a path may hold colons, too."""
    file, _, strength = argument.rpartition(":")
    try:
        return (file, float(strength)) if file else (argument, 1.0)
    except ValueError:
        return argument, 1.0


def _make_variation(
    options: argparse.Namespace, student: Student, vae: WanVAE, contract: SamplingContract
) -> Variation:
    from ..pipeline.generation import Variation
    from ..pipeline.image_to_image import encode_start
    from ..pipeline.pictures.convert import read_image

    start = None
    if options.image is not None:
        side = student.config.latent_size
        height, width = (student.spatial_factor * cells for cells in (contract.latent or (0, side, side))[1:])
        mask = None if options.mask is None else read_image(options.mask, (width, height)).mean(-1)
        denoise = 1.0 if options.denoise is None else options.denoise
        start = encode_start(student, vae, read_image(options.image, (width, height)), denoise=denoise, mask=mask)
    return Variation(start, options.eta, options.clip_x0)


def _describe(run: Run, seed: int) -> dict[str, object]:
    return {"caption": run.job.caption, "seed": seed, "steps": run.contract.steps}


def _save(path: Path, image: Tensor, run: Run, seed: int, student: Student) -> None:
    from ..pipeline.generation import choose_rounding, save_png
    from ..samplers.contract import CHANGES_KEY, CONTRACT_KEY
    from ..samplers.mismatch import list_changes

    notes = {"student": student.source, "seed": seed, "caption": run.job.caption}
    texts = {CONTRACT_KEY: json.loads(run.contract.to_json())} | {f"wan_lite.{key}": notes[key] for key in notes}
    changes = list_changes(student.contract, run.contract)
    save_png(image, path, texts | ({CHANGES_KEY: changes} if changes else {}), choose_rounding(run.contract))
    say(path)


def _say_written(path: Path | None) -> None:
    if path is not None:
        say(path)
