"""Our means of using the page, tried on a graph of the core: what they report must be true before we rely on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from browser.page import ComfyPage, RunFailed
from host.client import Client

NODES: list[dict[str, Any]] = [
    {
        **{"id": 1, "type": "EmptyImage", "pos": [100, 300], "size": [300, 130], "flags": {}, "order": 0, "mode": 0},
        **{"inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}], "properties": {}},
        "widgets_values": [64, 48, 1, 3368601],
    },
    {
        **{"id": 2, "type": "SaveImage", "pos": [500, 300], "size": [300, 300], "flags": {}, "order": 1, "mode": 0},
        **{"inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": [], "properties": {}},
        "widgets_values": ["page"],
    },
]


def write_workflow(folder: Path, name: str, nodes: list[dict[str, Any]]) -> Path:
    graph = {"last_node_id": 9, "last_link_id": 1, "nodes": nodes, "links": [[1, 1, 0, 2, 0, "IMAGE"]], "version": 0.4}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(graph))
    return path


def test_dropped_json_runs_and_its_png_carries_it(page: ComfyPage, comfy: Client, tmp_path: Path) -> None:
    page.drop(write_workflow(tmp_path, "of the core", NODES))
    assert [node["type"] for node in page.nodes()] == ["EmptyImage", "SaveImage"]
    page.run()
    page.wait_for_pictures("2")
    assert page.nodes()[1]["pictures"] == [[64, 48]]
    assert page.api_graph()["2"]["inputs"]["images"] == ["1", 0]
    saved = sorted((comfy.base / "output").glob("page_*.png"))[-1]
    page.drop(saved)
    assert [node["type"] for node in page.nodes()] == ["EmptyImage", "SaveImage"]
    assert page.complaints() == []
    assert page.screenshot(tmp_path / "seen.png").stat().st_size > 10_000


def test_unknown_node_is_seen(page: ComfyPage, tmp_path: Path) -> None:
    page.drop(write_workflow(tmp_path, "unknown", [NODES[0] | {"type": "NoSuchNode"}, NODES[1]]))
    assert [(node["known"], node["has_errors"]) for node in page.nodes()] == [(False, True), (True, False)]


def test_refused_graph_is_an_error(page: ComfyPage, tmp_path: Path) -> None:
    page.drop(write_workflow(tmp_path, "refused", [NODES[0] | {"widgets_values": [64, 48, 1, -5]}, NODES[1]]))
    page.page.evaluate("app.graph.getNodeById(1).widgets.find(w => w.name === 'color').value = -5")
    with pytest.raises(RunFailed):
        page.run()


def test_console_errors_and_failed_requests_are_seen(page: ComfyPage) -> None:
    page.page.evaluate("console.error('a complaint'); void fetch('/no-such-thing').catch(() => 0)")
    page.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'https://example.invalid/a.png'}))")
    page.page.wait_for_timeout(500)
    assert any("a complaint" in error for error in page.console_errors)
    assert any("/no-such-thing" in request for request in page.failed_requests)
    assert any("example.invalid" in said for said in [*page.outside_requests, *page.console_errors])


@pytest.mark.parametrize(
    ("kind", "stored", "expected"),
    [
        ("WanLiteSolverFlowUniPC", [3, "bh1", 2, 0.9, 4.0, "warn"], [3, "bh1", 2, "warn"]),
        ("WanLiteSolverFlowUniPC", [3, "bh1", 2, "warn"], [3, "bh1", 2, "warn"]),
        ("WanLiteSolverFlowDPMpp", [1, 0.9, 4.0, "warn"], [1, "warn"]),
        (
            "WanLiteSolverDDIM",
            [0.5, 1.5, 1.1, 2.0, 0.1, 0.9, 0.9, 4.0, "ignore"],
            [0.5, 1.5, 1.1, 2.0, 0.1, 0.9, "ignore"],
        ),
    ],
)
def test_values_of_removed_inputs_are_passed_over(
    page: ComfyPage, tmp_path: Path, kind: str, stored: list[Any], expected: list[Any]
) -> None:
    said: list[str] = []
    page.page.on("console", lambda message: said.append(message.text))
    solver = NODES[0] | {"type": kind, "widgets_values": stored, "outputs": []}
    page.drop(write_workflow(tmp_path, "older", [solver, NODES[1] | {"inputs": []}]))
    values = page.page.evaluate("app.graph.getNodeById(1).widgets.map(widget => widget.value)")
    assert values == expected
    assert len([text for text in said if "the saved values are passed over" in text]) == (stored != expected)
    assert page.complaints() == []
