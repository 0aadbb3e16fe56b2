"""A world played on the node in the page: keys with the focus and never without, and what the workflow carries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.page import ComfyPage
from host.client import Client

PLAYER = 3
GRAPH: dict[str, Any] = {
    "1": {"class_type": "WanLiteWorldLoader", "inputs": {"world_name": "wan-lite-demo/world.safetensors"}},
    "2": {"class_type": "ImageFromBatch", "inputs": {"image": ["1", 1], "batch_index": 0, "length": 4}},
    "3": {"class_type": "WanLiteWorldPlay", "inputs": {"world": ["1", 0], "context": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "played"}},
}
STEP = f"() => app.graph.getNodeById({PLAYER}).wanLitePlayer.player.step"
PIXELS = """() => {
    const canvas = document.querySelector('.wl-play canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.height, canvas.width, ...data];
}"""
WIDGET = f"name => app.graph.getNodeById({PLAYER}).widgets.find(widget => widget.name === name)"
PLAYED = "() => window.__events.filter(({ kind }) => kind === 'execution_success').length"


@pytest.fixture(params=["canvas", "elements"])
def played(request: pytest.FixtureRequest, page: ComfyPage) -> Iterator[ComfyPage]:
    """A page with the graph, in one of the two ways in which the page draws nodes, and played without a clock."""
    set_up(page, by_elements=request.param == "elements")
    yield page
    page.page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def set_up(page: ComfyPage, *, by_elements: bool) -> None:
    shown = str(by_elements).lower()
    page.page.evaluate(f"app.extensionManager.setting.set('Comfy.VueNodes.Enabled', {shown})")
    page.page.evaluate("graph => app.loadApiJson(graph, 'played')", GRAPH)
    page.page.evaluate("app.rootGraph.id = crypto.randomUUID()")
    page.page.locator(".wl-play canvas").wait_for()
    page.page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.page.wait_for_timeout(1000)
    page.page.get_by_label("clocked").uncheck()


def press(page: ComfyPage, name: str) -> None:
    page.page.locator(".wl-play button").get_by_text(name, exact=True).click()


def start(page: ComfyPage) -> None:
    press(page, "Play")
    page.page.wait_for_function(f"() => app.graph.getNodeById({PLAYER}).wanLitePlayer.player.session")
    page.page.locator(".wl-play button", has_text="stretch").wait_for()


def wait_for_step(page: ComfyPage, step: int) -> None:
    page.page.wait_for_function(f"step => ({STEP})() === step", arg=step, timeout=20_000)


def tap(page: ComfyPage, *keys: str) -> None:
    """Press keys one after the other; each must have given its frame before the next."""
    for key in keys:
        before = page.page.evaluate(STEP)
        page.page.keyboard.press(key)
        wait_for_step(page, before + 1)


def session(page: ComfyPage) -> dict[str, Any]:
    return dict(json.loads(page.page.evaluate(f"() => ({WIDGET})('session').value")))


def shown(page: ComfyPage) -> np.ndarray:
    height, width, *data = page.page.evaluate(PIXELS)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def is_seen(saved: np.ndarray, pixels: np.ndarray) -> bool:
    """Core's Save Image drops what lies behind the point, the player rounds."""
    return bool(abs(saved.astype(int) - pixels).max() <= 1)


def test_keys_buttons_and_the_queued_frames(played: ComfyPage, comfy: Client, screenshots: Path) -> None:
    """Play runs the workflow once; what is played is what a server without a page makes of the saved graph."""
    start(played)
    assert played.page.evaluate(PLAYED) == 1
    first = shown(played)
    tap(played, "ArrowRight", "2", "ArrowLeft", " ")
    played.page.locator(".wl-play button", has_text="left").click()
    wait_for_step(played, 5)
    last = shown(played)
    played.screenshot(screenshots / "play.png")
    assert session(played)["actions"] == [[2, 2, 1, 3, 1]]
    assert played.page.evaluate(f"() => ({WIDGET})('session').options.hidden") is True
    images = comfy.queue(played.api_graph()).images("4")
    assert len(images) == 6 and is_seen(images[0], first) and is_seen(images[-1], last)
    press(played, "Undo")
    wait_for_step(played, 4)
    assert is_seen(images[4], shown(played)) and session(played)["actions"] == [[2, 2, 1, 3]]
    press(played, "Reset")
    wait_for_step(played, 0)
    assert (shown(played) == first).all() and session(played)["actions"] == [[]]
    assert played.page.evaluate(PLAYED) == 1 and played.complaints() == []


def test_keys_without_the_focus_are_the_pages(played: ComfyPage) -> None:
    start(played)
    tap(played, "1")
    nodes = len(played.nodes())
    played.page.get_by_label("frames a second").click()
    played.page.keyboard.type("12")
    played.page.keyboard.press("ArrowLeft")
    played.page.locator("#graph-canvas").focus()
    for key in ("ArrowLeft", "1", "Space"):
        played.page.keyboard.press(key)
    played.page.wait_for_timeout(500)
    assert played.page.evaluate(STEP) == 1 and len(played.nodes()) == nodes
    played.page.locator(".wl-play canvas").click()
    tap(played, "ArrowLeft")


def test_the_clock_runs_while_the_image_has_the_focus(played: ComfyPage) -> None:
    start(played)
    played.page.get_by_label("clocked").check()
    press(played, "Play")
    played.page.wait_for_function(f"() => ({STEP})() >= 3", timeout=20_000)
    played.page.keyboard.down("ArrowRight")
    held = played.page.evaluate(STEP)
    played.page.wait_for_function(f"held => ({STEP})() >= held + 3", arg=held, timeout=20_000)
    played.page.keyboard.up("ArrowRight")
    press(played, "Pause")
    played.page.wait_for_timeout(500)
    actions = session(played)["actions"][0]
    assert actions[0] == 0 and actions.count(2) >= 2 and len(actions) == played.page.evaluate(STEP)
    press(played, "Play")
    played.page.wait_for_function(f"step => ({STEP})() > step", arg=len(actions), timeout=20_000)
    played.page.locator("#graph-canvas").focus()
    played.page.wait_for_timeout(500)
    stopped = played.page.evaluate(STEP)
    played.page.wait_for_timeout(500)
    assert played.page.evaluate(STEP) == stopped and len(session(played)["actions"][0]) == stopped


def test_a_saved_workflow_goes_on_where_it_stopped(played: ComfyPage, tmp_path: Path) -> None:
    start(played)
    tap(played, "1", "3", "2")
    seen, record = shown(played), session(played)
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(played.page.evaluate("() => app.graph.serialize()")))
    played.page.evaluate("graph => app.loadApiJson(graph, 'other')", {"1": GRAPH["1"]})
    played.drop(saved)
    played.page.locator(".wl-play canvas").wait_for()
    assert session(played) == record
    played.page.get_by_label("clocked").uncheck()
    start(played)
    wait_for_step(played, 3)
    assert (shown(played) == seen).all()
    played.page.locator(".wl-play canvas").click()
    tap(played, "2")
    assert session(played)["actions"] == [[1, 3, 2, 2]]


def test_a_session_that_the_server_let_go_of_is_continued(played: ComfyPage) -> None:
    start(played)
    tap(played, "2", "2", "1")
    ended = """async () => {
        const { player } = app.graph.getNodeById(3).wanLitePlayer;
        await player.call('close', { session: player.session });
    }"""
    played.page.evaluate(ended)
    tap(played, "3")
    assert session(played)["actions"] == [[2, 2, 1, 3]]
