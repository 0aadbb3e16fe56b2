"""Pictures of a world's diagnosis: the quality of the four arms over time, and their frames side by side."""

from __future__ import annotations

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from ..models.world.diagnosis import ARMS, Diagnosis, psnr
from .charts import Axes, image_grid, line_chart, to_pil

__all__ = ["comparison", "drift_chart"]

_NAMES = {
    "tokenizer": "tokenizer ceiling",
    "one step": "one step from true frames",
    "pixels": "rollout, pixels fed back",
    "tokens": "rollout, tokens fed back",
}
_ROWS = ("truth", "one step", "pixels", "tokens")


def drift_chart(found: Diagnosis) -> Image.Image:
    """Draw the PSNR of every predicted frame, one line for each arm."""
    series = {
        _NAMES[arm]: [(found.first_frame + i, value) for i, value in enumerate(found.psnr[arm].tolist())]
        for arm in ARMS
    }
    return line_chart(series, Axes("How good each predicted frame is", "frame", "PSNR in dB"))


def comparison(found: Diagnosis, most: int = 8, cell: int = 128) -> Image.Image:
    """Lay out truth, one step and both rollouts in rows, at most ``most`` frames of the first clip in time order."""
    count = len(found.frames["truth"])
    chosen = torch.linspace(0, count - 1, min(most, count)).round().long().tolist()
    cells = [(_label(found, row, i), to_pil(_unit(found.frames[row][i]))) for row in _ROWS for i in chosen]
    return image_grid(cells, columns=len(chosen), title="Truth, and three predictions of it", cell=cell)


def _label(found: Diagnosis, row: str, i: int) -> str:
    """Name a frame; its PSNR is that of the clip shown, not the mean over clips that the chart has."""
    name = f"{row}, frame {found.first_frame + i}"
    if row == "truth":
        return name
    error = (_unit(found.frames[row][i]).clamp(0, 1) - _unit(found.frames["truth"][i])).square().mean()
    return f"{name}: {float(psnr(error)):.1f} dB"


def _unit(frame: Tensor) -> Tensor:
    return rearrange(frame, "c h w -> h w c") / 2 + 0.5
