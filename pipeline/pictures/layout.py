"""Frames for people: labels, several rollouts side by side, contact sheets. Plain arithmetic and Pillow, no host."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from einops import repeat
from PIL import Image, ImageDraw
from torch import Tensor

__all__ = ["LABEL_HEIGHT", "contact_sheet", "enlarge", "label", "side_by_side", "to_picture"]

LABEL_HEIGHT = 14
_GAP = 2
_PAPER, _INK = (24, 24, 24), (235, 235, 235)


def enlarge(frames: Tensor, factor: int) -> Tensor:
    """Repeat every pixel: (n, H, W, 3) -> (n, factor H, factor W, 3). World models are seen better without blur."""
    return repeat(frames, "n h w c -> n (h a) (w b) c", a=factor, b=factor)


def label(frames: Tensor, texts: Sequence[str]) -> Tensor:
    """Put a line of text above each frame: (n, H, W, 3) in [0, 1] -> (n, H + LABEL_HEIGHT, W, 3).

    The frame's own pixels stay as they are; a text that is too long is cut off.

    Raises:
        ValueError: not one text for each frame.
    """
    if len(texts) != len(frames):
        raise ValueError(f"texts: {len(texts)} given for {len(frames)} frames; give one for each.")
    strips = [_strip(text, frames.shape[2]) for text in texts]
    return torch.cat([torch.stack(strips).to(frames), frames], dim=1)


def side_by_side(rollouts: Tensor) -> Tensor:
    """Several rollouts in one picture per frame: (b, t, H, W, 3) -> (t, H, b W and gaps, 3)."""
    b, t, h, w, _ = rollouts.shape
    sheet = _paper(rollouts, t, h, b * w + (b - 1) * _GAP)
    for item in range(b):
        left = item * (w + _GAP)
        sheet[:, :, left : left + w] = rollouts[item]
    return sheet


def contact_sheet(frames: Tensor, columns: int | None = None) -> Tensor:
    """All frames on one page, row by row: (n, H, W, 3) -> (1, rows and gaps, columns and gaps, 3).

    Args:
        columns: how many frames in a row; None makes the page about square.
    """
    n, h, w, _ = frames.shape
    columns = columns or max(1, math.ceil(math.sqrt(n * h / w)))
    rows = math.ceil(n / columns)
    sheet = _paper(frames, 1, rows * (h + _GAP) - _GAP, columns * (w + _GAP) - _GAP)
    for i, frame in enumerate(frames):
        top, left = i // columns * (h + _GAP), i % columns * (w + _GAP)
        sheet[0, top : top + h, left : left + w] = frame
    return sheet


def to_picture(frame: Tensor) -> Image.Image:
    """A frame (H, W, 3) in [0, 1] as an 8-bit picture; truncated, as the host saves pictures."""
    return Image.fromarray((frame.float().clamp(0, 1).cpu() * 255).byte().numpy())


def _paper(like: Tensor, n: int, height: int, width: int) -> Tensor:
    colour = torch.tensor(_PAPER, dtype=like.dtype, device=like.device) / 255
    return repeat(colour, "c -> n h w c", n=n, h=height, w=width).clone()


def _strip(text: str, width: int) -> Tensor:
    image = Image.new("RGB", (width, LABEL_HEIGHT), _PAPER)
    ImageDraw.Draw(image).text((2, 1), text, fill=_INK)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255
