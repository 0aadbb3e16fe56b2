"""A probe's report as images: what each candidate generates, and how the latent's size runs."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from torch import Tensor

from ..probing import ProbeReport
from .charts import Axes, draw_line_chart
from .convert import to_pil
from .layout import draw_image_grid

__all__ = ["draw_probe_chart", "draw_probe_grid"]

_LARGEST_LATENT = 100.0  # far outside of any image's


def draw_probe_grid(report: ProbeReport, decode: Callable[[Tensor], Tensor], *, cell: int = 256) -> Image.Image:
    """Draw the first image of every candidate, the most plausible first, labelled with rank, name and score.

    Args:
        report: The probe's.
        decode: From the network's own latents (1, c, h, w) to images (1, H, W, 3) in [0, 1].
        cell: Longer side of an image on the grid, in pixels.
    """
    images = []
    for rank, item in enumerate(report.ranking, 1):
        # a run that blew up may hold infinities, or values at which a decoder overflows
        latent = item.latent[:1].nan_to_num(0.0, 0.0, 0.0).clamp(-_LARGEST_LATENT, _LARGEST_LATENT)
        text = f"{rank}. {item.name}\nscore {item.score:.2f}, {item.distance:.0%} from its finest run"
        images.append((text, to_pil(decode(latent)[0], "round")))
    return draw_image_grid(images, title="The same noise, each candidate's sampling", cell=cell)


def draw_probe_chart(report: ProbeReport) -> Image.Image:
    """Draw the latent's size along each candidate's run, 1 being right, over the share of the run that is done."""
    series = {
        f"{rank}. {item.name}": [((n + 1) / len(item.rms_ratio), value) for n, value in enumerate(item.rms_ratio)]
        for rank, item in enumerate(report.ranking, 1)
    }
    title = "Root mean square of the latent, over what it should be (1 is right)"
    return draw_line_chart(series, Axes(title, x="share of the run", y="level", log=True))
