"""CONDITIONING of the host, and the rows of text that a student is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...models.text_embeds import trim_padding

Conditioning = list[list[Any]]


def to_conditioning(texts: list[Tensor]) -> Conditioning:
    """Put prompts (l_i, d) into one CONDITIONING (n, longest, d), zero-padded: image i gets prompt i."""
    dtype = texts[0].dtype if len({text.dtype for text in texts}) == 1 else torch.float32
    rows = torch.nn.utils.rnn.pad_sequence([text.to(dtype) for text in texts], batch_first=True)
    return [[rows, {"pooled_output": None}]]


def from_conditioning(conditioning: Conditioning) -> list[Tensor]:
    """Take the prompts (l_i, d) out of a CONDITIONING, each without its padding.

    Raises:
        ValueError: An entry holds no rows of text.
    """
    texts = []
    for rows, _ in conditioning:
        if not isinstance(rows, Tensor) or rows.ndim != 3:
            raise ValueError("conditioning holds no text rows; connect a CLIPTextEncode with Wan's umT5 text encoder.")
        texts += [trim_padding(item) for item in rows]
    return texts
