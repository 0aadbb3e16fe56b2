"""Sessions on disk: the JSON that ``rollout --session`` replays, and the frames of a session as a video shows them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import check_folder

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.world import SessionRecord

__all__ = ["arrange_video", "describe_source", "join_context", "read_session", "write_session"]

SOURCES = ("world", "tokenizer", "action_model", "dynamics", "clip", "start", "every", "resize")
"""Options that say what is played; a session's file holds them."""
LARGEST_SESSION = 32_000_000
"""Bytes of a file that is read; the longest that is allowed, 64 items of 100,000 actions, has some 20 MB."""


def join_context(context: Tensor, frames: Tensor) -> Tensor:
    """Return what :func:`rollout` shows: all frames of the context, then those played; (t, 3, S, S)."""
    import torch

    return torch.cat([context[0, :-1], frames[0]])


def arrange_video(frames: Tensor, scale: int) -> Iterator[Tensor]:
    """Yield frames (t, 3, S, S) in [-1, 1] as people see them: images (H, W, 3) in [0, 1], enlarged."""
    from einops import rearrange

    from ...pipeline.pictures.convert import to_unit
    from ...pipeline.pictures.layout import enlarge

    for frame in frames:
        yield enlarge(to_unit(rearrange(frame.clamp(-1, 1), "c h w -> h w c")), scale)


def describe_source(options: argparse.Namespace) -> dict[str, Any]:
    """Return which world and which frames are played, paths made absolute."""
    source = {name: getattr(options, name) for name in SOURCES}
    for name in ("world", "tokenizer", "action_model", "dynamics", "clip"):
        source[name] = None if source[name] is None else str(Path(source[name]).absolute())
    return source


def write_session(path: Path, record: SessionRecord, source: dict[str, Any]) -> None:
    """Write a session's record, with what was played, to a JSON file."""
    from ...atomic import replacing

    check_folder(path.parent)
    with replacing(path) as part:
        part.write_text(record.to_json(source=source) + "\n", encoding="utf-8")


def read_session(path: Path, options: argparse.Namespace) -> SessionRecord:
    """Read a session's record, and set the options that say what was played: the world's, and those of the clip.

    Each of the two is taken from the file as a whole, and only where none of it was given.

    Raises:
        ValueError: The file is not a session's.
    """
    from ...models.text_files import read_text
    from ...models.world import SessionRecord

    text = read_text(path, most=LARGEST_SESSION)
    record = SessionRecord.from_json(text)
    source = json.loads(text).get("source")
    has_world, has_clip = options.world or options.tokenizer or options.dynamics, options.clip
    for name in SOURCES if isinstance(source, dict) else ():
        is_given = has_world if name in SOURCES[:4] else has_clip
        kind = (int,) if name in ("start", "every") else (bool,) if name == "resize" else (str, type(None))
        if name in source and type(source[name]) in kind and not is_given:
            setattr(options, name, source[name])
    return record
