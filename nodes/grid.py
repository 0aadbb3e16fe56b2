"""Images and labels -> one page, as the command line's contact sheets are laid out."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..pipeline.pictures.layout import Grid, draw_batches
from .host.schema import CATEGORY, Node, int_input, make_schema, text_input

MORE = ("images_2", "images_3", "images_4")


class WanLiteGrid(Node):
    """Images and labels -> a contact sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteGrid",
            display_name="Wan Lite Grid",
            category=f"{CATEGORY}/image",
            description="Puts images on one page, each with its label: seeds beside one another, students below one "
            "another. The layout is that of `wan-lite sample --sheet`.",
            search_aliases=["contact sheet", "grid", "xy plot", "compare images", "labels", "sweep", "image batch"],
            inputs=[
                io.Image.Input("images", tooltip="The first row, or with nothing else connected all of the page."),
                text_input(
                    "labels",
                    "",
                    "A line for each image, row after row; too few leave the rest without. Empty: no labels.",
                    multiline=True,
                ),
                text_input("title", "", "Stands above all of them; empty leaves it out."),
                int_input(
                    "columns",
                    0,
                    (0, 100),
                    "Images in a row. 0: as many as the largest of the connected batches has, or an about square page "
                    "where only images is connected.",
                ),
                int_input("cell", 256, (16, 2048), "The longer side of each image on the page, in pixels.", step=8),
                *(
                    io.Image.Input(name, optional=True, tooltip=f"Row {row}. May be of another size.")
                    for row, name in enumerate(MORE, 2)
                ),
            ],
            outputs=[io.Image.Output(tooltip="One image, the page.")],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        labels: str = "",
        title: str = "",
        columns: int = 0,
        cell: int = 256,
        images_2: Tensor | None = None,
        images_3: Tensor | None = None,
        images_4: Tensor | None = None,
    ) -> io.NodeOutput:
        batches = [batch for batch in (images, images_2, images_3, images_4) if batch is not None]
        return io.NodeOutput(draw_batches(batches, labels, Grid(columns, title, cell))[None])


NODES = [WanLiteGrid]
