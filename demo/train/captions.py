"""Stand-ins for a text encoder's output: one row a word and one for ``</s>``, so that captions differ in length.

A word's vector is drawn from a generator seeded by the word itself; nothing is learned. A mean over a caption's own
rows keeps colour and pattern apart, because the vectors of different words are nearly orthogonal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from .. import demo_file
from .loop import parser_for
from .pictures import captions

__all__ = ["WIDTH", "embed", "main", "save_captions"]

WIDTH = 64  # numbers a row; the real encoder has 4096
END = "</s>"
CAPTIONS_KEY = "wan_lite.captions"


def embed(text: str) -> Tensor:
    """Return the rows of a caption, ``(words + 1, 64)`` in float32."""
    return torch.stack([_vector(word) for word in (*text.lower().split(), END)])


def _vector(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(WIDTH, generator=Generator().manual_seed(seed))


def save_captions(texts: list[str], path: Path) -> None:
    """Write the rows as ``text.0``, ``text.1``, ... and the captions into the header, as embeds files have them."""
    rows = {f"text.{i}": embed(text) for i, text in enumerate(texts)}
    save_file(rows, path, metadata={CAPTIONS_KEY: json.dumps(texts)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Write ``captions.safetensors``: all captions of the picture set."""
    options = parser_for(main.__doc__).parse_args(arguments)
    path = demo_file("captions", options.models)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_captions(captions(), path)


if __name__ == "__main__":
    main()
