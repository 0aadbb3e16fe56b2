"""CONDITIONING of the host, and the rows of text that a student is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models.text_embeds import read_text_embeds, save_text_embeds, trim_padding
from .validation.links import check_conditioning

Conditioning = list[list[Any]]
ALL = -1
"""The index that takes all prompts of a file."""


def load_conditioning(path: Path, index: int) -> Conditioning:
    """Read a file of text embeddings: prompt ``index``, or all of them, image i of a batch getting prompt i.

    Raises:
        ValueError: The file holds fewer prompts, or no text embeddings.
    """
    texts, _ = read_text_embeds(path)
    if index >= len(texts):
        raise ValueError(f"index is {index}, but {path.name} holds {len(texts)} prompts, counted from 0; -1 takes all.")
    return to_conditioning(texts if index == ALL else [texts[index]])


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
