"""A world's diagnosis as images: the quality of every arm over time, and its frames beside the true ones."""

from __future__ import annotations

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from ...models.world import ARMS, Diagnosis
from ...models.world.diagnosis.psnr import measure_squared_error, to_psnr
from .charts import Axes, draw_line_chart
from .convert import to_unit
from .layout import draw_labels, enlarge

__all__ = ["COMPARED", "compare_arms", "draw_diagnosis_chart"]

COMPARED = ("truth", "tokenizer", "one step", "pixels", "tokens")
"""The rows of :func:`compare_arms`."""


def draw_diagnosis_chart(found: Diagnosis) -> Image.Image:
    """Draw PSNR over the frame number, a line for each arm."""
    series = {
        f"{arm} (mean {found.mean(arm):.1f} dB)": list(enumerate(found.psnr[arm].tolist(), found.first_frame))
        for arm in ARMS
    }
    return draw_line_chart(series, Axes("How near predicted frames are to the truth", x="frame", y="PSNR in dB"))


def compare_arms(found: Diagnosis, *, scale: int = 4, labels: bool = True) -> Tensor:
    """Return the true frames and those of every arm, of the clip that the diagnosis shows.

    Args:
        found: The diagnosis.
        scale: How many times each pixel is repeated, in both directions.
        labels: Write the arm, and its PSNR at that frame, above each frame.

    Returns:
        (arms, n, H, W, 3) in [0, 1], arms in the order of :data:`COMPARED`.
    """
    return torch.stack([_make_row(found, arm, scale, labels) for arm in COMPARED])


def _make_row(found: Diagnosis, arm: str, scale: int, labels: bool) -> Tensor:
    frames = enlarge(to_unit(rearrange(found.frames[arm], "n c h w -> n h w c").clamp(-1, 1)), scale)
    if not labels:
        return frames
    numbers = range(found.first_frame, found.first_frame + len(frames))
    # of the clip that is shown; the chart and the report have the mean over all clips
    errors = measure_squared_error(found.frames[arm], found.frames["truth"])
    quality = [None] * len(frames) if arm == "truth" else to_psnr(errors).tolist()
    # the first column says what the row is, the others need their number only
    names = [arm if number == found.first_frame else str(number) for number in numbers]
    texts = [name if q is None else f"{name}: {q:.1f}" for name, q in zip(names, quality, strict=True)]
    return draw_labels(frames, texts)
