"""Every shipped workflow, in the page: dropped, opened as a template, run, opened again from the PNG that it saved."""

from __future__ import annotations

import json
from pathlib import Path

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
    saved = [entry for _, entry in shown if entry["type"] == "output"]
    assert saved, "no picture was saved"
    page.drop(comfy.base / "output" / saved[-1]["subfolder"] / saved[-1]["filename"])
    assert page.api_graph() == graph
    assert page.complaints() == []
    assert derived.drift(workflow) == []
    assert len(derived.thumbnail) <= THUMBNAIL_BYTES


@pytest.mark.parametrize("workflow", LARGE, ids=lambda path: path.stem)
def test_workflow_whose_models_are_downloaded_opens(page: ComfyPage, workflow: Path) -> None:
    """Its models are not here: the page says so, but knows every node and makes the shipped API form of it."""
    page.drop(workflow)
    assert [node["type"] for node in page.nodes() if not node["known"]] == []
    api, thumbnail = paths_for(workflow)
    assert page.api_graph() == json.loads(api.read_text("utf-8"))
    assert 0 < thumbnail.stat().st_size <= THUMBNAIL_BYTES
