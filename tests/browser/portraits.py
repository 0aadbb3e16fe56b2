"""Pictures of single nodes for the help pages, taken in the page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from browser.page import ComfyPage

PICTURE_BYTES = 40_000
TITLE = 34  # pixels above a node's position that its title takes
SHOWS = ("SaveImage", "PreviewImage", "SaveAnimatedWEBP")
BOX = """ids => ids.map(id => app.graph.getNodeById(id)).map(node => [...node.pos, ...node.size])"""
LOOK = """([scale, x, y]) => {
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [x, y];
    app.canvas.setDirty(true, true);
}"""
SHOWN_BY = """([id, kinds]) => (app.graph.getNodeById(id).outputs ?? []).flatMap(output => output.links ?? [])
    .map(link => app.graph.links.get(link).target_id).filter(end => kinds.includes(app.graph.getNodeById(end).type))"""
CREATE = """type => {
    const node = LiteGraph.createNode(type);
    node.pos = [0, 3000 + 2000 * app.graph.nodes.length];
    app.graph.add(node);
    node.size = [Math.max(340, node.size[0]), node.size[1]];
    return node.id;
}"""


@dataclass(frozen=True)
class Frame:
    """A part of the canvas, in its own units."""

    left: float
    top: float
    right: float
    bottom: float


def create(page: ComfyPage, node_type: str) -> int:
    """Put a new node far from all others and return its id."""
    return int(page.page.evaluate(CREATE, node_type))


def portrait(page: ComfyPage, node_id: int) -> bytes:
    """A JPEG of a node and of the nodes behind it that show its pictures."""
    shows = page.page.evaluate(SHOWN_BY, [node_id, list(SHOWS)])
    frame = around(page.page.evaluate(BOX, [node_id, *shows]))
    width, height = frame.right - frame.left, frame.bottom - frame.top
    scale = min(1.5, 880 / height, 1400 / width)
    x, y = 260 / scale - frame.left, 110 / scale - frame.top
    page.page.evaluate("app.extensionManager.setting.set('LiteGraph.Canvas.MinFontSizeForLOD', 0)")
    page.page.evaluate(LOOK, [scale, x, y])
    page.page.wait_for_timeout(700)
    clip: Any = {"x": 260, "y": 110, "width": width * scale, "height": height * scale}
    return small_jpeg(page.page.screenshot(clip=clip))


def around(boxes: list[list[float]], margin: float = 8) -> Frame:
    """The frame around nodes given as [x, y, width, height]."""
    return Frame(
        min(x for x, *_ in boxes) - margin,
        min(y for _, y, *_ in boxes) - TITLE - margin,
        max(x + width for x, _, width, _ in boxes) + margin,
        max(y + height for _, y, _, height in boxes) + margin,
    )


def small_jpeg(png: bytes) -> bytes:
    """The picture as a JPEG of at most 40 kB."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((760, 760))
    for quality in (88, 80, 70, 60, 50, 40):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if len(file.getvalue()) <= PICTURE_BYTES:
            break
    return file.getvalue()
