"""How every shipped workflow opens: whole, free of the page's own panels, legible, its wires beside the nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.page import ComfyPage, new_page
from browser.regenerate import shipped_workflows
from host.client import Client

SIZES = ((1280, 720), (1600, 900), (1920, 1080))
VUE = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
LOAD = "async graph => { await app.loadGraphData(graph); }"
PANELS = """() => ['[data-testid=side-toolbar]', '.actionbar-container', '.workflow-tabs-container', '[role=toolbar]']
    .flatMap(name => [...document.querySelectorAll(name)]).map(panel => panel.getBoundingClientRect())
    .filter(box => box.width * box.height).map(box => [box.left, box.top, box.right, box.bottom])"""
BOXES = """isVue => {
    const canvas = app.canvas.canvas.getBoundingClientRect(), {scale, offset} = app.canvas.ds;
    const place = (x, y, w, h) => [(x + offset[0]) * scale + canvas.left, (y + offset[1]) * scale + canvas.top,
        (x + w + offset[0]) * scale + canvas.left, (y + h + offset[1]) * scale + canvas.top];
    const drawn = node => {
        if (!isVue) return place(...node.boundingRect);
        const box = document.querySelector(`.lg-node[data-node-id="${node.id}"]`).getBoundingClientRect();
        return [box.left, box.top, box.right, box.bottom];
    };
    return {
        scale, nodes: Object.fromEntries(app.graph.nodes.map(node => [`${node.id} ${node.title}`, drawn(node)])),
        groups: app.graph.groups.map(group => place(...group.pos, ...group.size)),
    };
}"""
NOTES = """() => [...document.querySelectorAll('.comfy-markdown .tiptap, .comfy-markdown-content')].map(note => ({
    cut: note.scrollHeight - (note.closest('.comfy-markdown') ?? note).clientHeight,
    codes: note.querySelectorAll('code').length,
}))"""
WIRES_BEHIND_NODES = """margin => {
    const pen = document.createElement('canvas').getContext('2d');
    pen.lineWidth = 2;
    const paths = [...app.graph.links.values()].flatMap(link => {
        const ends = [link.origin_id, link.target_id];
        const steps = [...app.graph.reroutes.values()].filter(reroute => reroute.linkIds.has(link.id));
        return [link, ...steps].filter(step => step.path).map(step => [link.id, ends, step.path]);
    });
    const found = new Set();
    for (const node of app.graph.nodes) {
        const [x, y, w, h] = node.boundingRect;
        for (const [id, ends, path] of paths)
            for (let i = x + margin; i <= x + w - margin; i += 4)
                for (const j of [y + margin, y + h / 2, y + h - margin])
                    if (h > 2 * margin && pen.isPointInStroke(path, i, j)) found.add(`link ${id} behind ${node.title}`);
    }
    return [...found];
}"""


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "vue"])
def viewer(chromium: Browser, comfy: Client, request: pytest.FixtureRequest) -> Iterator[tuple[ComfyPage, bool]]:
    """A page in one of its two renderers."""
    opened = new_page(chromium, comfy.url)
    opened.page.evaluate(VUE, request.param)
    opened.page.wait_for_timeout(1000)
    yield opened, request.param
    opened.page.evaluate(VUE, False)
    opened.page.wait_for_timeout(500)
    opened.page.context.close()


def overlap(one: list[float], other: list[float], slack: float = 1.0) -> bool:
    """Tell whether two boxes share more than a line."""
    return all(max(one[i], other[i]) + slack < min(one[i + 2], other[i + 2]) for i in (0, 1))


def complaints_about(boxes: dict[str, Any], panels: list[list[float]], size: tuple[int, int]) -> list[str]:
    """Name what lies outside of the window or under one of the page's panels."""
    named = {**boxes["nodes"], **{f"group {i}": box for i, box in enumerate(boxes["groups"])}}
    found = []
    for name, box in named.items():
        if box[0] < 0 or box[1] < 0 or box[2] > size[0] + 1 or box[3] > size[1] + 1:
            found.append(f"{name} leaves the window of {size}: {box}")
        found += [f"{name} lies under a panel at {size}: {box}, {panel}" for panel in panels if overlap(box, panel)]
    return found


@pytest.mark.parametrize("workflow", shipped_workflows(), ids=lambda path: path.stem)
def test_workflow_opens_whole_and_legible(viewer: tuple[ComfyPage, bool], workflow: Path) -> None:
    page, is_vue = viewer
    page.page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})
    page.page.evaluate(LOAD, json.loads(workflow.read_text("utf-8")))
    page.page.wait_for_timeout(700)
    complaints = []
    for size in SIZES:
        page.page.set_viewport_size({"width": size[0], "height": size[1]})
        page.page.wait_for_timeout(300)
        boxes = page.page.evaluate(BOXES, is_vue)
        complaints += complaints_about(boxes, page.page.evaluate(PANELS), size)
    assert boxes["scale"] >= 0.575, "below this the canvas draws no text"
    nodes = sorted(boxes["nodes"].items())
    complaints += [f"{a} over {b}" for i, (a, one) in enumerate(nodes) for b, other in nodes[:i] if overlap(one, other)]
    notes = page.page.evaluate(NOTES)
    complaints += [f"a note is cut: {note}" for note in notes if note["cut"] > 2]
    complaints += [f"a note has inline code: {note}" for note in notes if note["codes"]]
    complaints += [] if is_vue else page.page.evaluate(WIRES_BEHIND_NODES, 8)
    assert len(notes) >= 1
    assert complaints == []


@pytest.mark.parametrize("workflow", shipped_workflows(), ids=lambda path: path.stem)
@pytest.mark.parametrize("viewer", [False], ids=["canvas"], indirect=True)  # the sizes in the files are the canvas's
def test_no_node_is_mostly_empty(viewer: tuple[ComfyPage, bool], workflow: Path) -> None:
    """Nodes that show an image or a text have room for it; every other is filled by its slots and widgets."""
    page, _ = viewer
    sizes = {node["id"]: node["size"] for node in json.loads(workflow.read_text("utf-8"))["nodes"]}
    page.page.evaluate(LOAD, json.loads(workflow.read_text("utf-8")))
    least = page.page.evaluate(
        "() => Object.fromEntries(app.graph.nodes.filter(n => !n.flags.collapsed)"
        ".map(n => [n.id, [n.type, n.computeSize()[1]]]))"
    )
    shows = ("LoadImage", "SaveImage", "PreviewImage", "PreviewAny", "SaveAnimatedWEBP", "MarkdownNote")
    empty = [
        (kind, sizes[int(node)][1], needed)
        for node, (kind, needed) in least.items()
        if kind not in shows and sizes[int(node)][1] > 3 * max(needed, 40)
    ]
    assert empty == []
    assert max(size[1] for size in sizes.values()) < 1000
