"""``wan-lite sample``: from a student, a VAE and text to PNGs."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import add_machine_arguments, split_name, torch_device, torch_dtype, writable_folder
from .terminal import make_bar, say

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.student import Student
    from ..models.wan_vae.vae import WanVAE
    from ..pipeline.generation import Prompts
    from ..samplers.contract import SamplingContract

__all__ = ["add_sample", "run_sample"]


def add_sample(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sample``."""
    parser.add_argument("--student", required=True, help="a student's folder (as WanDistiller saves it) or single file")
    parser.add_argument("--vae", help="a Wan VAE: .pth, .safetensors or diffusers folder; by default --teacher's")
    add_text_arguments(parser)
    add_sampling_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="image i of a batch uses seed + i (default: 0)")
    parser.add_argument("--batch", type=int, default=1, help="images of each prompt (default: 1)")
    parser.add_argument("--out", default="out", help="folder, or file name ending in .png (default: out)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_machine_arguments(parser)
    parser.set_defaults(run=run_sample)


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the text comes from: a file of embeddings, or words and a text encoder."""
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument(
        "--embeds", metavar="FILE[:NAME]", help="text embeddings; NAME is a caption or its number, all without it"
    )
    text.add_argument("--prompt", action="append", help="what to sample, in words; may be repeated")
    parser.add_argument(
        "--text-encoder",
        metavar="PATH",
        help="umT5 for --prompt: a Hugging Face folder, Wan's .pth or ComfyUI's file; by default --teacher's",
    )
    parser.add_argument(
        "--teacher",
        metavar="FOLDER",
        help="a downloaded Wan (official, diffusers or ComfyUI): its VAE and text encoder",
    )
    parser.add_argument(
        "--negative", help="for --cfg, what to steer away from: words with --prompt, NAME in the file with --embeds"
    )


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what overrides the student's contract."""
    group = parser.add_argument_group("sampling", "Without these, the student's own contract decides.")
    group.add_argument("--contract", metavar="PRESET", help="a named way of sampling, such as 'flow_unipc-20 shift 5'")
    group.add_argument(
        "--sampler", metavar="NAME", help="a solver, such as ddim (of the training loop) or flow-unipc (Wan's own)"
    )
    group.add_argument("--steps", type=int, help="how many times the network is called")
    group.add_argument("--shift", type=float, help="applied once, in the schedule; 1 is none")
    group.add_argument("--cfg", type=float, help="guidance; 1 is none, as students are trained; else give --negative")
    group.add_argument("--size", metavar="WxH", help="pixels of the image; the size of training by default")
    group.add_argument(
        "--on-mismatch", choices=["error", "warn", "ignore"], default="error",
        help="what to do where these contradict the student's contract (default: error)",
    )  # fmt: skip


def run_sample(options: argparse.Namespace) -> None:
    """Load, sample, decode, write, and print what was written."""
    from ..models import load_student, load_wan_vae
    from ..pipeline.contracts import Overrides, find_sampler, resolve_contract
    from ..pipeline.generation import check_vae, save_png
    from ..samplers.contract import CONTRACT_KEY
    from ..samplers.formatting import format_contract

    dtype, device = torch_dtype(options.precision), torch_device(options.device)
    preset = options.contract or (options.sampler and find_sampler(options.sampler))
    student = load_student(options.student, dtype=dtype, device=device, preset=preset)
    overrides = Overrides(options.contract, options.sampler, options.steps, options.shift, options.cfg, options.size)
    contract = resolve_contract(student, overrides, on_mismatch=options.on_mismatch)
    use_teacher(options)
    vae = load_wan_vae(options.vae, dtype=dtype, device=device, video=False)
    check_vae(student, vae)
    prompts = read_prompts(options)
    say(f"contract: {format_contract(contract)}")
    paths = list_targets(Path(options.out), Path(options.student).absolute().stem, options.batch * len(prompts))
    for number, (caption, image) in enumerate(sample_images(student, vae, contract, prompts, options)):
        seed = options.seed + number % options.batch
        notes = {"wan_lite.student": student.source, "wan_lite.seed": seed, "wan_lite.caption": caption}
        path = next(paths)
        save_png(image, path, {CONTRACT_KEY: json.loads(contract.to_json()), **notes})
        say(path)


def use_teacher(options: argparse.Namespace) -> None:
    """Take the VAE and the text encoder from ``--teacher`` where they are not named themselves.

    Raises:
        ValueError: the folder holds no Wan, or there is no VAE at all.
    """
    if options.teacher is not None:
        from ..pipeline.teacher_folder import find_teacher

        found = find_teacher(options.teacher)
        options.vae = options.vae or found.vae
        options.text_encoder = options.text_encoder or found.text_encoder
    if options.vae is None:
        raise ValueError("no VAE is given; add --vae FILE, or --teacher FOLDER with a downloaded Wan that has one.")


def sample_images(
    student: Student,
    vae: WanVAE,
    contract: SamplingContract,
    prompts: list[tuple[str, Prompts]],
    options: argparse.Namespace,
) -> Iterator[tuple[str, Tensor]]:
    """Yield each image (H, W, 3) with its caption; every prompt is a run of its own, with the same seeds."""
    from ..pipeline.generation import decode_images, sample_latents

    steps = contract.schedule().steps
    with make_bar(options, steps * len(prompts), "step") as bar:
        for caption, prompt in prompts:
            latent = sample_latents(
                student, prompt, contract=contract, seed=options.seed, batch=options.batch,
                on_step=lambda i, x, x0: bar.update() and None,
            )  # fmt: skip
            yield from ((caption, image) for image in decode_images(student, vae, latent))


def read_prompts(options: argparse.Namespace) -> list[tuple[str, Prompts]]:
    """Return each prompt's words with its embeddings, from the file of embeddings or through the text encoder.

    Raises:
        ValueError: the text encoder is not named, the file is wrong, or it has no prompt of that name.
    """
    from ..pipeline.generation import Prompts

    if options.embeds is not None:
        file, name = split_name(options.embeds)
        positive = select_embeds(file, name)
        negative = select_embeds(file, options.negative)[:1] if options.negative else []
    else:
        from ..pipeline.text_encoder import encode_prompts

        if options.text_encoder is None:
            raise ValueError(
                "--prompt needs --text-encoder PATH (umT5) or --teacher FOLDER (a downloaded Wan that has one); or use "
                "--embeds FILE instead."
            )
        words = [*options.prompt, *([options.negative] if options.negative is not None else [])]
        rows = list(zip(words, encode_prompts(options.text_encoder, words, device=options.device), strict=True))
        positive, negative = rows[: len(options.prompt)], rows[len(options.prompt) :]
    return [(caption, Prompts([text], [text for _, text in negative])) for caption, text in positive]


def select_embeds(file: Path, name: str | None) -> list[tuple[str, Tensor]]:
    """Return (caption, embeddings) of all prompts of a file, or of the one with this caption or number (from 0).

    Raises:
        ValueError: the file is wrong or has no such prompt.
    """
    from ..models.text_embeds import read_text_embeds

    texts, captions = read_text_embeds(file)
    found = list(zip(captions, texts, strict=True))
    if name is None:
        return found
    chosen = [pair for pair in found if pair[0] == name]
    if not chosen and name.isdecimal() and int(name) < len(found):
        chosen = [found[int(name)]]
    if not chosen:
        known = ", ".join(repr(caption) for caption in captions[:5])
        raise ValueError(
            f"{file.name}: has no prompt {name!r}; it holds {len(found)}: {known}{', ...' if len(found) > 5 else ''}. "
            f"Give a caption, or a number from 0 to {len(found) - 1}."
        )
    return chosen[:1]


def list_targets(out: Path, stem: str, count: int) -> Iterator[Path]:
    """Return the files to write: ``out`` itself where it names one PNG, else new numbered ones, overwriting nothing.

    Raises:
        OSError: their folder cannot be made or written to.
    """
    folder, stem = (out.parent, out.stem) if out.suffix.lower() == ".png" else (out, stem)
    writable_folder(folder)
    if out.suffix.lower() == ".png" and count == 1:
        return iter([out])
    numbered = (folder / f"{stem}_{number:05}.png" for number in itertools.count(1))
    return (path for path in numbered if not path.exists())
