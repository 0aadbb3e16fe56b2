"""Every shipped workflow, in the page: dropped, opened as a template, run, opened again from the PNG that it saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from browser.page import ComfyPage
from browser.regenerate import THUMBNAIL_BYTES, derive, needs_download, paths_for, shipped_workflows, shown_pictures
from host.client import Client

RUNNABLE = [path for path in shipped_workflows() if not needs_download(path)]
LARGE = [path for path in shipped_workflows() if needs_download(path)]


def test_there_are_workflows() -> None:
    assert RUNNABLE and LARGE


@pytest.mark.parametrize("workflow", RUNNABLE, ids=lambda path: path.stem)
def test_workflow_in_the_page(page: ComfyPage, comfy: Client, screenshots: Path, workflow: Path) -> None:
    """The three ways in give one graph: the template browser, the file, and a picture that a run of it saved."""
    page.open_template(workflow.stem)
    graph = page.api_graph()
    derived, events = derive(page, comfy, workflow)
    assert json.loads(derived.api) == graph
    assert [node for node in page.nodes() if not node["known"] or node["has_errors"]] == []
    shown = shown_pictures(events)
    for node_id in {node_id for node_id, _ in shown}:
        page.wait_for_pictures(node_id)
    page.screenshot(screenshots / f"{workflow.stem}.png")
    saved = {node_id: entry for node_id, entry in shown if entry["type"] == "output"}
    assert saved, "no picture was saved"
    for entry in saved.values():
        page.drop(comfy.base / "output" / entry["subfolder"] / entry["filename"])
        assert page.api_graph() == graph
    assert page.complaints() == []
    assert derived.drift(workflow) == []
    assert len(derived.thumbnail) <= THUMBNAIL_BYTES


def with_value(workflow: Path, node_id: int, name: str, value: Any, copy: Path) -> Path:
    """Copy a workflow with another value of one input; nothing else in that node may have the value of now."""
    api, graph = (json.loads(path.read_text("utf-8")) for path in (paths_for(workflow)[0], workflow))
    stored = next(node["widgets_values"] for node in graph["nodes"] if node["id"] == node_id)
    now = api[str(node_id)]["inputs"][name]
    assert stored.count(now) == 1 and now != value
    stored[stored.index(now)] = value
    copy.write_text(json.dumps(graph), "utf-8")
    return copy


@pytest.mark.parametrize(
    ("name", "node_id", "input_name", "value"),
    [("student_flow_unipc", 5, "seed", 99), ("student_image_to_image", 13, "seed", 3), ("world_rollout", 8, "seed", 9)],
)
def test_another_value_of_one_input_is_drift(
    page: ComfyPage, comfy: Client, tmp_path: Path, name: str, node_id: int, input_name: str, value: Any
) -> None:
    """The comparison with the shipped files notices when all pictures change, and when some do."""
    shipped = next(path for path in RUNNABLE if path.stem == name)
    derived, _ = derive(page, comfy, with_value(shipped, node_id, input_name, value, tmp_path / shipped.name))
    said = derived.drift(shipped)
    assert len(said) == 2 and "is not the API form" in said[0] and "is not a picture" in said[1]


@pytest.mark.parametrize("workflow", LARGE, ids=lambda path: path.stem)
def test_workflow_whose_models_are_downloaded_opens(page: ComfyPage, workflow: Path) -> None:
    """Its models are not here: the page says so, but knows every node and makes the shipped API form of it."""
    page.drop(workflow)
    assert [node["type"] for node in page.nodes() if not node["known"]] == []
    api, thumbnail = paths_for(workflow)
    assert page.api_graph() == json.loads(api.read_text("utf-8"))
    assert 0 < thumbnail.stat().st_size <= THUMBNAIL_BYTES
