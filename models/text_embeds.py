"""Text embeddings on disk, so that a small student does not need an 11 GB text encoder every time.

One ``.safetensors`` file: tensor ``text`` (l, d) for one prompt, ``text.0``, ``text.1``, ... for several; the header
key ``wan_lite.captions`` holds the prompts as a JSON list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import CheckpointError, TensorFile, write_tensors
from .finite import is_finite

__all__ = ["CAPTIONS_KEY", "find_prompt", "move_padding_last", "read_text_embeds", "save_text_embeds"]
__all__ += ["select_text_embeds", "trim_padding"]

CAPTIONS_KEY = "wan_lite.captions"
_LARGEST = 65504.0  # of float16; embeddings have values of a few hundred, and far larger ones overflow in a network
_UNUSABLE = f"hold values that are NaN, infinite or beyond {_LARGEST:.0f}"


def read_text_embeds(path: str | os.PathLike[str]) -> tuple[list[Tensor], list[str]]:
    """Return the token embeddings of each prompt, (l_i, d), and the prompts (empty where the file has none).

    Args:
        path: Of the file.

    Raises:
        CheckpointError: The file is missing, damaged, or holds anything but text embeddings of one width.
    """
    path = Path(path)
    file = TensorFile(path)
    names = ["text"] if set(file.specs) == {"text"} else [f"text.{index}" for index in range(len(file.specs))]
    if not names or set(names) != set(file.specs):
        found = ", ".join(sorted(file.specs)[:4]) or "nothing"
        raise CheckpointError(
            f"{path.name}: holds {found}, not text embeddings (a tensor 'text', or 'text.0', 'text.1', ...); choose a "
            "file that the node WanLiteTextEmbedsSave wrote."
        )
    specs = [file.specs[name] for name in names]
    if not _are_prompts(specs):
        raise CheckpointError(
            f"{path.name}: holds texts {_list_shapes(specs)}; each must be (tokens, width) with one width for all, in "
            "floating point. Save the embeddings again."
        )
    tensors = file.read(names)
    texts = [tensors[name] for name in names]
    if not all(map(_is_usable, texts)):
        raise CheckpointError(f"{path.name}: its embeddings {_UNUSABLE}; encode the prompts again.")
    return texts, _parse_captions(file.metadata.get(CAPTIONS_KEY), len(texts))


def save_text_embeds(path: str | os.PathLike[str], texts: Sequence[Tensor], captions: Sequence[str] = ()) -> None:
    """Write the token embeddings of each prompt, and the prompts.

    Args:
        path: Of the file.
        texts: (l_i, d) each, without padding.
        captions: The prompts, as far as they are known.

    Raises:
        ValueError: There is no text, a text is not (tokens, width) of one width or holds values that no text encoder
            gives, or there are more captions than texts.
        OSError: The file cannot be written; what was there stays.
    """
    if not _are_prompts(texts):
        raise ValueError(
            f"texts holds {_list_shapes(texts)}; give one floating-point (tokens, width) for each prompt, one width "
            "for all."
        )
    if not all(map(_is_usable, texts)):
        raise ValueError(f"texts {_UNUSABLE}; check the text encoder and its precision, and encode the prompts again.")
    if len(captions) > len(texts):
        raise ValueError(f"captions has {len(captions)} lines for {len(texts)} texts; give at most one for each.")
    names = ["text"] if len(texts) == 1 else [f"text.{index}" for index in range(len(texts))]
    prompts = [*captions, *[""] * (len(texts) - len(captions))]
    # copies, because the items of a batch share their memory, which the format does not allow
    tensors = {name: text.clone() for name, text in zip(names, texts, strict=True)}
    write_tensors(path, tensors, {CAPTIONS_KEY: json.dumps(prompts, ensure_ascii=False)})


def find_prompt(captions: Sequence[str], name: str, source: str) -> int:
    """Return which prompt is meant: by its caption, its number from 0, or words that one caption alone holds.

    Args:
        captions: Of the file, one for each prompt.
        name: What the user wrote.
        source: The file's name, for the message.

    Raises:
        ValueError: No caption, or more than one, is meant.
    """
    if name in captions:
        return captions.index(name)
    if name.isdecimal() and int(name) < len(captions):
        return int(name)
    holding = [index for index, caption in enumerate(captions) if name.casefold() in caption.casefold()]
    if len(holding) == 1:
        return holding[0]
    shown = [captions[index] for index in holding] or list(captions)
    listed = ", ".join(map(repr, shown[:5])) + (", ..." if len(shown) > 5 else "")
    found = (
        f"{len(holding)} prompts with {name!r}: {listed}"
        if holding
        else f"no prompt {name!r}; it holds {len(captions)}: {listed}"
    )
    raise ValueError(f"{source}: has {found}. Give a caption, or a number from 0 to {len(captions) - 1}.")


def trim_padding(embeddings: Tensor) -> Tensor:
    """Cut the embeddings of zeros after a prompt's last token: (l, d) to (l', d), with at least one left.

    Args:
        embeddings: (l, d), of one prompt.
    """
    used = (embeddings != 0).any(dim=1).nonzero()
    return embeddings[: int(used[-1]) + 1 if len(used) else 1]


def move_padding_last(embeddings: Tensor) -> Tensor:
    """Move zeros (b, l, d) behind the text: joined prompts (ComfyUI's ConditioningConcat) have them between."""
    empty = (embeddings == 0).all(dim=2)
    order = empty.to(torch.uint8).argsort(dim=1, stable=True)
    return embeddings.gather(1, order.unsqueeze(2).expand_as(embeddings))


def _are_prompts(texts: Sequence[Tensor]) -> bool:
    good = [text.ndim == 2 and text.numel() > 0 and text.is_floating_point() for text in texts]
    return bool(good) and all(good) and len({text.shape[1] for text in texts}) == 1


def _is_usable(text: Tensor) -> bool:
    return is_finite(text) and float(text.float().abs().max()) <= _LARGEST


def _list_shapes(texts: Sequence[Tensor]) -> str:
    shown = [f"{list(text.shape)} {str(text.dtype).removeprefix('torch.')}" for text in texts[:4]]
    return (", ".join(shown) or "nothing") + (", ..." if len(texts) > 4 else "")


def _parse_captions(header: str | None, count: int) -> list[str]:
    try:
        listed = json.loads(header) if header else []
    except (ValueError, RecursionError):  # the embeddings can be used without the prompts
        listed = []
    captions = [str(caption) for caption in listed] if isinstance(listed, list) else []
    return (captions + [""] * count)[:count]


def select_text_embeds(file: Path, name: str | None) -> list[tuple[str, Tensor]]:
    """Return (caption, embeddings (l, d)) of all prompts of a file, or of the one with this caption or number (from 0).

    Args:
        file: Of embeddings.
        name: A caption, or a number; None takes all.

    Raises:
        CheckpointError: The file cannot be read.
        ValueError: It has no such prompt.
    """
    texts, captions = read_text_embeds(file)
    found = list(zip(captions, texts, strict=True))
    return found if name is None else [found[find_prompt(captions, name, file.name)]]
