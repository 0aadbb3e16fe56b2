"""A world's diagnosis as pictures: the quality of every arm over time, and the frames beside the truth."""

from __future__ import annotations

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from ...models.world.diagnosis.report import ARMS, Diagnosis, psnr
from .charts import Axes, line_chart
from .layout import enlarge, label

__all__ = ["COMPARED", "diagnosis_chart", "diagnosis_frames"]

COMPARED = ("truth", "tokenizer", "one step", "pixels", "tokens")


def diagnosis_chart(found: Diagnosis) -> Image.Image:
    """Draw PSNR over the frame number, a line for each arm."""
    series = {
        f"{arm} (mean {found.mean(arm):.1f} dB)": list(enumerate(found.psnr[arm].tolist(), found.first_frame))
        for arm in ARMS
    }
    return line_chart(series, Axes("How near predicted frames are to the truth", x="frame", y="PSNR in dB"))


def diagnosis_frames(found: Diagnosis, *, scale: int = 4, labels: bool = True) -> Tensor:
    """Put the true frames and every arm's side by side.

    Args:
        scale: how often each pixel is repeated.
        labels: write the arm, and its PSNR at that frame, above each picture.

    Returns:
        (arms, n, H, W, 3) in [0, 1], arms in the order of :data:`COMPARED`.
    """
    return torch.stack([_row(found, arm, scale, labels) for arm in COMPARED])


def _row(found: Diagnosis, arm: str, scale: int, labels: bool) -> Tensor:
    frames = enlarge((rearrange(found.frames[arm], "n c h w -> n h w c").clamp(-1, 1) + 1) / 2, scale)
    if not labels:
        return frames
    numbers = range(found.first_frame, found.first_frame + len(frames))
    # of the clip that is shown; the chart and the report have the mean over all clips
    quality = [None] * len(frames) if arm == "truth" else psnr(_errors(found, arm)).tolist()
    # the first column says what the row is, the others need their number only
    names = [arm if number == found.first_frame else str(number) for number in numbers]
    return label(frames, [name if q is None else f"{name}: {q:.1f}" for name, q in zip(names, quality, strict=True)])


def _errors(found: Diagnosis, arm: str) -> Tensor:
    """Mean squared error in [0, 1] of each frame of the first clip."""
    return ((found.frames[arm].clamp(-1, 1) - found.frames["truth"]) / 2).square().mean((1, 2, 3))
