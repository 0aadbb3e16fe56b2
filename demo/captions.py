"""Stand-ins for a text encoder's output: one row a word and one for ``</s>``, so that captions differ in length.

A word's vector is drawn from a generator seeded by the word itself; nothing is learned. A mean over a caption's own
rows keeps colour and pattern apart, because the vectors of different words are nearly orthogonal.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Generator, Tensor

__all__ = ["WIDTH", "embed"]

WIDTH = 64  # numbers a row; the real encoder has 4096
END = "</s>"


def embed(text: str) -> Tensor:
    """Return the rows of a caption, ``(words + 1, 64)`` in float32."""
    return torch.stack([_vector(word) for word in (*text.lower().split(), END)])


def _vector(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(WIDTH, generator=Generator().manual_seed(seed))
