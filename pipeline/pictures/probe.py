"""A probe's report as pictures: what each candidate paints, and how the latent's level runs."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from torch import Tensor

from ..probe import ProbeReport
from .charts import Axes, image_grid, line_chart, to_pil

__all__ = ["probe_chart", "probe_grid"]


def probe_grid(report: ProbeReport, decode: Callable[[Tensor], Tensor], *, cell: int = 256) -> Image.Image:
    """Draw the first picture of every candidate, the most plausible first, labelled with rank, name and score.

    Args:
        decode: from the network's own latents (1, c, h, w) to pictures (1, H, W, 3) in [0, 1].
        cell: longer side of a picture on the grid, in pixels.
    """
    pictures = []
    for rank, item in enumerate(report.ranking, 1):
        # a run that blew up may hold infinities, which no decoder takes
        latent = item.latent[:1].nan_to_num(0.0, 0.0, 0.0)
        label = f"{rank}. {item.name}\nscore {item.score:.2f}, {item.distance:.0%} from its finest run"
        pictures.append((label, to_pil(decode(latent)[0])))
    return image_grid(pictures, title="The same noise, each candidate's sampling", cell=cell)


def probe_chart(report: ProbeReport) -> Image.Image:
    """Draw each candidate's level along its run, 1 being right, over the share of the run that is done."""
    series = {
        f"{rank}. {item.name}": [((n + 1) / len(item.level), value) for n, value in enumerate(item.level)]
        for rank, item in enumerate(report.ranking, 1)
    }
    title = "Root mean square of the latent, over what it should be (1 is right)"
    return line_chart(series, Axes(title, x="share of the run", y="level", log=True))
