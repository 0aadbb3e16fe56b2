"""Where the text comes from: a file of embeddings, words on the command line, or a file of prompts."""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..file_parts import split_name

if TYPE_CHECKING:
    from ..pipeline.generation import Prompts

__all__ = ["Job", "add_text_arguments", "read_jobs", "use_teacher"]

COLUMNS = ("prompt", "negative", "seed", "name")


@dataclass(frozen=True)
class Job:
    """One prompt to sample.

    Attributes:
        caption: Its words, for file names and notes.
        prompts: Its token embeddings.
        seed: Of its first image, instead of ``--seed``; None leaves it to that.
    """

    caption: str
    prompts: Prompts
    seed: int | None = None


@dataclass(frozen=True)
class _Words:
    """A prompt that is not yet encoded."""

    prompt: str
    negative: str | None = None
    seed: int | None = None
    name: str | None = None


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the text comes from."""
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument(
        "--embeds", metavar="FILE[:NAME]", help="text embeddings; NAME is a caption or its number, all without it"
    )
    text.add_argument("--prompt", action="append", help="what to sample, in words; may be repeated")
    text.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="prompts from a .txt file, one a line, or from a .csv file with a column 'prompt' (and 'negative', "
        "'seed', 'name' where wanted)",
    )
    parser.add_argument(
        "--text-encoder",
        metavar="PATH",
        help="umT5 for words: a Hugging Face folder, Wan's .pth or ComfyUI's file; by default --teacher's",
    )
    parser.add_argument(
        "--teacher",
        metavar="FOLDER",
        help="a downloaded Wan (official, diffusers or ComfyUI): its VAE and text encoder",
    )
    parser.add_argument(
        "--negative", help="for --cfg, what to steer away from: words, or NAME in the file with --embeds"
    )


def use_teacher(options: argparse.Namespace) -> None:
    """Take the VAE and the text encoder from ``--teacher`` where they are not named themselves.

    Raises:
        ValueError: The folder holds no Wan.
    """
    if options.teacher is not None:
        from ..pipeline.teacher_folder import find_teacher

        found = find_teacher(options.teacher)
        options.vae = options.vae or found.vae
        options.text_encoder = options.text_encoder or found.text_encoder


def read_jobs(options: argparse.Namespace) -> list[Job]:
    """Return each prompt with its embeddings, from the file of embeddings or through the text encoder.

    Raises:
        ValueError: The text encoder is not named, or the file is wrong or has no prompt of that name.
    """
    from ..models.text_embeds import select_text_embeds
    from ..pipeline.generation import Prompts

    if options.embeds is None:
        return _encode(_read_words(options), options)
    file, name = split_name(options.embeds)
    negative = [text for _, text in select_text_embeds(file, options.negative)[:1]] if options.negative else []
    return [Job(caption, Prompts([text], negative)) for caption, text in select_text_embeds(file, name)]


def _read_words(options: argparse.Namespace) -> list[_Words]:
    if options.prompts is None:
        return [_Words(prompt, options.negative) for prompt in options.prompt]
    try:
        text = options.prompts.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{options.prompts}: is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    if options.prompts.suffix.lower() == ".csv":
        found = _parse_table(text, options)
    else:
        found = [_Words(line.strip(), options.negative) for line in text.splitlines() if line.strip()]
    if not found:
        raise ValueError(f"{options.prompts}: holds no prompt; write one a line.")
    return found


def _parse_table(text: str, options: argparse.Namespace) -> list[_Words]:
    rows = csv.DictReader(text.splitlines())
    unknown = [name for name in rows.fieldnames or [] if name not in COLUMNS]
    if unknown or "prompt" not in (rows.fieldnames or []):
        found = f"has a column {unknown[0]!r}" if unknown else "has no column 'prompt'"
        raise ValueError(f"{options.prompts.name}: {found}; the first line names some of {', '.join(COLUMNS)}.")
    words = []
    for row in rows:
        seed = (row.get("seed") or "").strip()
        if seed and not seed.isdecimal():
            raise ValueError(f"{options.prompts.name}, line {rows.line_num}: seed is {seed!r}; give a whole number.")
        if (row["prompt"] or "").strip():
            negative, name = ((row.get(column) or "").strip() or None for column in ("negative", "name"))
            words.append(_Words(row["prompt"].strip(), negative or options.negative, int(seed) if seed else None, name))
    return words


def _encode(words: list[_Words], options: argparse.Namespace) -> list[Job]:
    """Encode every text once, however many prompts share it."""
    from ..pipeline.generation import Prompts
    from ..pipeline.text_encoder import encode_prompts

    if options.text_encoder is None:
        option = "--prompt" if options.prompts is None else "--prompts"
        raise ValueError(
            f"{option} needs --text-encoder PATH (umT5) or --teacher FOLDER (a downloaded Wan that has one); or use "
            "--embeds FILE instead."
        )
    texts = list(dict.fromkeys([item.prompt for item in words] + [item.negative for item in words if item.negative]))
    encoded = dict(zip(texts, encode_prompts(options.text_encoder, texts, device=options.device), strict=True))
    return [
        Job(
            item.name or item.prompt,
            Prompts([encoded[item.prompt]], [encoded[item.negative]] if item.negative else []),
            item.seed,
        )
        for item in words
    ]
