"""Encode prompts with Wan's own text encoder, umT5. Needs the extra ``text`` (transformers, sentencepiece)."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .umt5_files import open_text_encoder

__all__ = ["clean_prompt", "encode_prompts"]


def clean_prompt(prompt: str) -> str:
    """Clean a prompt as Wan does before its tokenizer: mend broken characters, undo HTML, collapse white space.

    The first part needs the package ``ftfy`` and is left out where it is not installed; it changes only text that was
    decoded wrongly, full-width letters and typographic quotes and ligatures.

    Source: Wan2.2 at 42bf4cf, ``wan/modules/tokenizers.py``.
    """
    try:
        import ftfy
    except ImportError:
        mended = prompt
    else:
        mended = ftfy.fix_text(prompt)
    # Twice, because captions scraped from the web are often escaped twice.
    return re.sub(r"\s+", " ", html.unescape(html.unescape(mended))).strip()


def encode_prompts(
    source: str | Path, prompts: Sequence[str], *, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
) -> list[Tensor]:
    """Encode prompts one at a time and return the embeddings of each prompt's own tokens, ``</s>`` included.

    Args:
        source: UmT5 in any layout: a folder as transformers or diffusers saves it, the official
            ``models_t5_umt5-xxl-enc-bf16.pth`` (or its folder), or ComfyUI's single file, scaled fp8 included.
        prompts: The texts, at least one.
        dtype: Of the encoder; bfloat16 is Wan's own.
        device: Where the encoder runs.

    Returns:
        One (l_i, d) tensor in ``dtype`` for each prompt; at most 512 tokens, longer prompts are cut as Wan cuts them.

    Raises:
        ValueError: There is no prompt, a package is not installed, or the source is not such an encoder.
    """
    if not prompts:
        raise ValueError("prompts is empty; give at least one prompt.")
    return encode_with(*open_text_encoder(Path(source), dtype), prompts, device=device)


def encode_with(tokenize: Any, encoder: Any, prompts: Sequence[str], *, device: str = "cpu") -> list[Tensor]:
    """Encode prompts as :func:`encode_prompts` does, with an encoder that :func:`open_text_encoder` has opened."""
    encoder = encoder.to(device)
    embeddings = []
    for prompt in prompts:
        ids = tokenize(clean_prompt(prompt)).to(device)
        with torch.inference_mode():
            embeddings.append(encoder(input_ids=ids).last_hidden_state[0].cpu().clone())
    return embeddings
