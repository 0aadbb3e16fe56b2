"""Prompts through Wan's own text encoder, a Hugging Face umT5 folder. Needs the extra ``text`` (transformers)."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["MAX_TOKENS", "clean_prompt", "encode_prompts"]

MAX_TOKENS = 512


def clean_prompt(prompt: str) -> str:
    """Clean a prompt as Wan does before its tokenizer: mend broken characters, undo HTML, single spaces.

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
    folder: str | Path, prompts: Sequence[str], *, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
) -> list[Tensor]:
    """Encode prompts one at a time and return the rows of each prompt's own tokens, ``</s>`` included.

    Args:
        folder: umT5 encoder and tokenizer as transformers saves them, together in one folder, or as ``text_encoder``
            and ``tokenizer`` in a diffusers folder.
        dtype: of the encoder; bfloat16 is Wan's own.

    Returns:
        One (l_i, d) tensor in ``dtype`` for each prompt; at most 512 tokens, longer prompts are cut as Wan cuts them.

    Raises:
        ValueError: there is no prompt, transformers is not installed, or the folder is not such an encoder.
    """
    if not prompts:
        raise ValueError("prompts is empty; give at least one prompt.")
    tokenizer, encoder = _load(Path(folder), dtype)
    encoder = encoder.to(device).eval()
    rows = []
    for prompt in prompts:
        ids = tokenizer(clean_prompt(prompt), truncation=True, max_length=MAX_TOKENS, return_tensors="pt").input_ids
        with torch.inference_mode():
            rows.append(encoder(input_ids=ids.to(device)).last_hidden_state[0].cpu().clone())
    return rows


def _load(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    if not folder.is_dir():
        raise ValueError(
            f"text encoder {folder}: is not a folder; give a umT5 folder as transformers saves it "
            "(config.json, weights, tokenizer), for example a download of google/umt5-xxl."
        )
    try:
        from transformers import AutoConfig, AutoTokenizer, UMT5EncoderModel
    except ImportError as error:
        raise ValueError(
            "the text encoder needs the package transformers, which is not installed: `pip install wan-lite[text]`, "
            "or use a file of text embeddings instead."
        ) from error
    split = (folder / "text_encoder").is_dir()
    encoder_folder, tokenizer_folder = (folder / "text_encoder", folder / "tokenizer") if split else (folder, folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
        kind = AutoConfig.from_pretrained(encoder_folder, local_files_only=True).model_type
        encoder, found = UMT5EncoderModel.from_pretrained(
            encoder_folder, local_files_only=True, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise _unreadable(folder, " ".join(str(error).split())[:200]) from error
    # transformers fills what a file lacks with random numbers and only warns.
    if kind != "umt5" or found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise _unreadable(folder, f"model_type is {kind}" + (f", without {missing}" if missing else ""))
    return tokenizer, encoder


def _unreadable(folder: Path, reason: str) -> ValueError:
    return ValueError(
        f"text encoder {folder}: cannot be read as a Hugging Face umT5 folder ({reason}); it needs config.json with "
        "model_type umt5, the encoder's weights and the tokenizer's files."
    )
