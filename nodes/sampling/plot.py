"""SIGMAS as a chart, because people look at schedules when images go wrong."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ...pipeline.pictures.convert import from_pil
from ...pipeline.pictures.schedules import draw_schedule_chart, format_schedules
from ..host.schema import CATEGORY, Node, make_schema
from ..host.validation.links import check_sigmas


class WanLiteSchedulePlot(Node):
    """SIGMAS -> a chart and a table."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
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
        check_sigmas(sigmas, "sigmas")
        if compare is not None:
            check_sigmas(compare, "compare")
        curves = {"sigmas": sigmas} if compare is None else {"sigmas": sigmas, "compare": compare}
        return io.NodeOutput(from_pil(draw_schedule_chart(curves))[None], format_schedules(curves))


NODES = [WanLiteSchedulePlot]
