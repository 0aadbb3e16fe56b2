"""CONDITIONING of the host, and the rows of text that a student is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models.text_embeds import find_prompt, read_text_embeds, save_text_embeds, trim_padding
from .validation.links import check_conditioning

Conditioning = list[list[Any]]
ALL = -1
"""The index that takes all prompts of a file."""


def load_conditioning(path: Path, index: int, captions: str = "") -> tuple[Conditioning, list[str]]:
    """Read prompts of a file of text embeddings, image i of a batch getting prompt i, and return their captions too.

    Args:
        path: Of the file.
        index: Of one prompt, from 0; -1 takes all.
        captions: Which prompts instead, a line for each: its words, or some that it alone has. Empty: as ``index``.

    Raises:
        ValueError: The file holds fewer prompts, none or several of a caption, or no text embeddings.
    """
    texts, known = read_text_embeds(path)
    if index >= len(texts):
        raise ValueError(f"index is {index}, but {path.name} holds {len(texts)} prompts, counted from 0; -1 takes all.")
    lines = [line.strip() for line in captions.splitlines() if line.strip()]
    every = list(range(len(texts))) if index == ALL else [index]
    chosen = [find_prompt(known, line, path.name) for line in lines] or every
    taken = [known[number] or f"prompt {number}" for number in chosen]
    return to_conditioning([texts[number] for number in chosen]), taken


def save_conditioning(path: Path, conditioning: Conditioning, captions: str) -> None:
    """Write the prompts of a CONDITIONING, and their words, a line for each, as far as they are given.

    Raises:
        ValueError: An entry holds no rows of text, or there are more lines than prompts.
    """
    lines = [line for line in captions.splitlines() if line.strip()]
    save_text_embeds(path, from_conditioning(conditioning), lines)


def to_conditioning(texts: list[Tensor]) -> Conditioning:
    """Put prompts (l_i, d) into one CONDITIONING (n, longest, d), zero-padded: image i gets prompt i."""
    dtype = texts[0].dtype if len({text.dtype for text in texts}) == 1 else torch.float32
    rows = torch.nn.utils.rnn.pad_sequence([text.to(dtype) for text in texts], batch_first=True)
    return [[rows, {"pooled_output": None}]]


def from_conditioning(conditioning: Conditioning) -> list[Tensor]:
    """Take the prompts (l_i, d) out of a CONDITIONING, each without its padding.

    Raises:
        ValueError: An entry holds no rows of text, or NaN.
    """
    check_conditioning(conditioning, "conditioning")
    texts = []
    for rows, _ in conditioning:
        if rows.ndim != 3:
            raise ValueError(
                f"conditioning has shape {list(rows.shape)}, not [batch, tokens, width]; connect a CLIPTextEncode with "
                "Wan's umT5 text encoder."
            )
        texts += [trim_padding(item) for item in rows]
    return texts


def check_text_width(model: Any, conds: dict[str, list[dict[str, Any]]]) -> None:
    """Refuse text of another encoder before the network of a Wan multiplies it with its own matrix.

    Args:
        model: The MODEL's diffusion model; others than core's Wan are not looked at.
        conds: Of the guider: name -> entries, whose ``cross_attn`` is (b, l, d).

    Raises:
        ValueError: A text has another width than the MODEL was trained with.
    """
    layers = getattr(model, "text_embedding", None)
    wanted = getattr(layers[0], "in_features", None) if isinstance(layers, torch.nn.Sequential) else None
    for name, entries in conds.items():
        for rows in (entry.get("cross_attn") for entry in entries or []):
            if wanted and isinstance(rows, Tensor) and rows.shape[-1] != wanted:
                raise ValueError(
                    f"{name} has text of width {rows.shape[-1]}, but this MODEL was trained with {wanted}; encode the "
                    "prompt with CLIPTextEncode and the text encoder of its training (4096 is Wan's umT5-XXL)."
                )
