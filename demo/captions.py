"""Stand-ins for a text encoder's output: an embedding for each word and one for ``</s>``; captions differ in length.

A word's vector is drawn from a generator seeded by the word itself; nothing is learned. A mean over a caption's
own tokens keeps colour and pattern apart, because the vectors of different words are nearly orthogonal.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Generator, Tensor

__all__ = ["WIDTH", "embed"]

WIDTH = 64  # of an embedding; the real encoder's are 4096 wide
END = "</s>"


def embed(text: str) -> Tensor:
    """Return the token embeddings of a caption, ``(words + 1, 64)`` in float32."""
    return torch.stack([_draw_vector(word) for word in (*text.lower().split(), END)])


def _draw_vector(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(WIDTH, generator=Generator().manual_seed(seed))
