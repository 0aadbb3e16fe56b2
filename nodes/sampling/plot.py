"""SIGMAS as a picture, because people look at schedules when pictures go wrong."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ...pipeline.pictures.charts import Axes, draw_line_chart
from ...pipeline.pictures.convert import from_pil
from ..host.schema import CATEGORY, schema


class WanLiteSchedulePlot(io.ComfyNode):
    """SIGMAS -> a picture of the curve and a table."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteSchedulePlot",
            display_name="Wan Lite Schedule Plot",
            category=f"{CATEGORY}/schedules",
            description="Draws SIGMAS, two of them over one another if you like, and writes them out step by step.",
            search_aliases=["sigma plot", "sigmas graph", "show sigmas"],
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="Any SIGMAS, of this pack or another."),
                io.Sigmas.Input("compare", optional=True, tooltip="A second curve to draw beside the first."),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="The curve, for Preview Image."),
                io.String.Output(display_name="table", tooltip="A line for each step, for Preview as Text."),
            ],
        )

    @classmethod
    def execute(cls, sigmas: torch.Tensor, compare: torch.Tensor | None = None) -> io.NodeOutput:
        curves = {"sigmas": sigmas} if compare is None else {"sigmas": sigmas, "compare": compare}
        return io.NodeOutput(plot(curves), sigma_table(curves))


def plot(curves: dict[str, torch.Tensor]) -> torch.Tensor:
    """IMAGE (1, H, W, 3) of sigma over steps; on a logarithmic axis where sigma goes above 1, as in epsilon models."""
    noise_ratio = max(float(sigmas.max()) for sigmas in curves.values()) > 1.0
    axes = Axes("Noise levels", "step", "sigma", log=noise_ratio)
    return from_pil(draw_line_chart({name: list(enumerate(s.tolist())) for name, s in curves.items()}, axes))[None]


def sigma_table(curves: dict[str, torch.Tensor]) -> str:
    """One line for each step: its number, each curve's sigma and the flow timestep where sigma is at most 1."""
    lines = []
    for name, sigmas in curves.items():
        lines.append(f"{name}: {len(sigmas) - 1} steps, {float(sigmas[0]):.6g} to {float(sigmas[-1]):.6g}")
        for step, sigma in enumerate(sigmas.tolist()):
            lines.append(f"{step:4d}  {sigma:.6f}" + (f"  t = {1000.0 * sigma:.2f}" if sigmas[0] <= 1.0 else ""))
    return "\n".join(lines)


NODES = [WanLiteSchedulePlot]
