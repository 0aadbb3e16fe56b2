"""Checking the sampling of the open graph in the page: panel, badges, remedies, and a page without panels.

Tried on front-ends 1.49.6, 1.37.11 (of the oldest supported host) and 1.12.8; the page under test is the host's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.page import ComfyPage, new_page
from browser.test_page import NODES, write_workflow
from host.client import Client
from workflow_graphs import Graph, lightx2v, to_page

COMMAND = "WanLite.CheckSampling"
KEYS = "Control+Shift+X"
WIDGET = "([id, name]) => app.graph.getNodeById(id).widgets.find(w => w.name === name).value"
BADGES = "id => app.graph.getNodeById(id).badges.map(b => (typeof b === 'function' ? b() : b).text).filter(Boolean)"
CENTRE = """id => {
    const {scale, offset} = app.canvas.ds, node = app.canvas.graph.getNodeById(id), {canvas} = app.canvas;
    const box = canvas.getBoundingClientRect();
    return [0, 1].map(i => (node.pos[i] + node.size[i] / 2 + offset[i]) * scale / [box.width, box.height][i]);
}"""
CAPTURE = "app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()"
UNDO_STEPS = "app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length"
WRONG = {"steps": 6, "cfg": 3, "scheduler": "normal"}


def lay_out(graph: Graph) -> dict[str, Any]:
    """A graph in the page's own format, its nodes side by side."""
    page = to_page(graph)
    page["last_link_id"] = len(page["links"])
    for index, node in enumerate(page["nodes"]):
        node |= {"pos": [100 + index % 4 * 420, 100 + index // 4 * 420], "size": [330, 200]}
        for slot, output in enumerate(node["outputs"]):
            output["links"] = [link[0] for link in page["links"] if link[1:3] == [node["id"], slot]]
    return page


def open_graph(page: ComfyPage, folder: Path, workflow: dict[str, Any], name: str = "checked") -> None:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(workflow))
    page.drop(path)
    page.page.keyboard.press("Escape")  # a dialog over models that are missing


def check(page: ComfyPage) -> None:
    with page.page.expect_response("**/wan-lite/check"):
        page.page.keyboard.press(KEYS)


def settle(page: ComfyPage) -> int:
    """Let the page keep the sizes that it gave to the nodes as a step of their own; return the number of its steps."""
    for _ in range(2):
        page.page.evaluate(CAPTURE)
        page.page.wait_for_timeout(300)
    return int(page.page.evaluate(UNDO_STEPS))


def found(page: ComfyPage) -> list[str]:
    return list(page.page.eval_on_selector_all(".wl-finding", "cards => cards.map(card => card.dataset.finding)"))


def widget(page: ComfyPage, id: int, name: str) -> Any:
    return page.page.evaluate(WIDGET, [id, name])


@pytest.fixture
def checked(page: ComfyPage, tmp_path: Path) -> ComfyPage:
    """A page with a wrong graph, checked by its keybinding."""
    open_graph(page, tmp_path, lay_out(lightx2v(**WRONG)))
    check(page)
    page.page.locator(".wl-finding").first.wait_for()
    return page


def test_findings_are_in_the_panel_and_on_the_node(checked: ComfyPage, screenshots: Path) -> None:
    assert found(checked) == ["levels-differ", "cfg-differs"]
    assert "6 levels instead of 4" in checked.page.locator(".wl-finding").first.inner_text()
    assert len(checked.page.locator(".wl-sampler code").inner_text().split()) == 7
    assert any("Wrong" in text for text in checked.page.evaluate(BADGES, 7))
    checked.screenshot(screenshots / "check.png")
    assert checked.complaints() == []


def test_a_click_shows_the_node(checked: ComfyPage) -> None:
    checked.page.evaluate("app.canvas.ds.offset[0] = 5000; app.canvas.setDirty(true, true)")
    checked.page.locator(".wl-finding .wl-place").first.click()
    checked.page.wait_for_timeout(300)
    assert checked.page.evaluate("Object.keys(app.canvas.selected_nodes)") == ["7"]
    assert checked.page.evaluate(CENTRE, 7) == pytest.approx([0.5, 0.5], abs=0.01)


def test_a_remedy_is_one_step_to_undo(checked: ComfyPage) -> None:
    steps = checked.page.evaluate(UNDO_STEPS)
    checked.page.locator(".wl-finding[data-finding=levels-differ] .wl-apply").click()
    checked.page.locator(".wl-undo").wait_for()
    assert (widget(checked, 7, "steps"), widget(checked, 7, "scheduler"), widget(checked, 7, "cfg")) == (4, "simple", 3)
    checked.page.wait_for_function("document.querySelectorAll('.wl-finding').length === 1")
    assert checked.page.evaluate(UNDO_STEPS) == steps + 1
    checked.page.locator(".wl-undo button").click()
    checked.page.wait_for_function("document.querySelectorAll('.wl-finding').length === 2")
    assert (widget(checked, 7, "steps"), widget(checked, 7, "scheduler")) == (6, "normal")
    assert checked.page.evaluate(UNDO_STEPS) == steps
    checked.page.wait_for_function(f"({BADGES})(7).some(text => text.includes('Wrong'))")


def test_all_remedies_at_once_and_the_page_undoes_them(checked: ComfyPage) -> None:
    steps = settle(checked)
    checked.page.locator(".wl-apply-all").click()
    checked.page.locator(".wl-undo").wait_for()
    assert checked.page.evaluate(UNDO_STEPS) == steps + 1
    assert found(checked) == []
    assert checked.page.evaluate(BADGES, 7) == checked.page.evaluate(BADGES, 6)
    assert (widget(checked, 7, "steps"), widget(checked, 7, "cfg")) == (4, 1)
    checked.page.locator("#graph-canvas").focus()
    checked.page.keyboard.press("Control+z")
    checked.page.wait_for_function("document.querySelectorAll('.wl-finding').length === 2")
    assert (widget(checked, 7, "steps"), widget(checked, 7, "cfg")) == (6, 3)
    assert checked.page.locator(".wl-undo").count() == 0


def test_what_is_typed_later_is_checked_again_and_another_graph_is_not(checked: ComfyPage, tmp_path: Path) -> None:
    set_steps = "app.graph.getNodeById(7).widgets.find(w => w.name === 'cfg').value = 1"
    checked.page.evaluate(f"app.canvas.emitBeforeChange(); {set_steps}; app.canvas.emitAfterChange()")
    checked.page.wait_for_function("document.querySelectorAll('.wl-finding').length === 1")
    open_graph(checked, tmp_path, lay_out(lightx2v(cfg=5)), "another")
    checked.page.wait_for_function("document.querySelectorAll('.wl-finding').length === 0")
    assert checked.page.locator(".wl-start").count() == 1


def test_nodes_drawn_as_elements_have_badges_too(checked: ComfyPage, screenshots: Path) -> None:
    checked.page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    try:
        badge = checked.page.locator("[data-node-id='7']").get_by_text("Wrong · 2")
        badge.wait_for(timeout=20_000)
        steps = settle(checked)
        checked.page.locator(".wl-apply-all").click()
        badge.wait_for(state="detached", timeout=20_000)
        checked.page.locator(".wl-undo").wait_for()
        assert checked.page.evaluate(UNDO_STEPS) == steps + 1
        with checked.page.expect_response("**/wan-lite/check"):
            checked.page.locator(".wl-undo button").click()
        badge.wait_for(timeout=20_000)
        assert (widget(checked, 7, "steps"), widget(checked, 7, "cfg")) == (6, 3)
        checked.screenshot(screenshots / "check_elements.png")
    finally:
        checked.page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def test_nodes_in_subgraphs_are_found_shown_and_mended(page: ComfyPage, tmp_path: Path) -> None:
    open_graph(page, tmp_path, lay_out(lightx2v(**WRONG)), "outer")
    page.page.evaluate("app.graph.convertToSubgraph(new Set([app.graph.getNodeById(7)]))")
    check(page)
    place = page.page.locator(".wl-finding .wl-place").first
    place.wait_for()
    outer, _, inner = str(place.get_attribute("data-node")).partition(":")
    assert inner and any("Wrong" in text for text in page.page.evaluate(BADGES, int(outer)))
    place.click()
    page.page.wait_for_function("app.canvas.graph !== app.rootGraph")
    assert page.page.evaluate("Object.keys(app.canvas.selected_nodes)") == [inner]
    page.page.locator(".wl-apply-all").click()
    page.page.locator(".wl-fine").wait_for()
    assert page.page.evaluate("id => app.canvas.graph.getNodeById(id).widgets[2].value", inner) == 4


def test_command_and_menu(page: ComfyPage) -> None:
    labels = page.page.evaluate("app.extensionManager.command.commands.map(c => [c.id, c.label])")
    assert [COMMAND, "Wan Lite: check sampling"] in labels
    page.page.get_by_test_id("comfy-menu-button").or_(page.page.locator(".comfy-menu-button-wrapper")).first.click()
    page.page.get_by_text("Wan Lite", exact=True).hover()
    with page.page.expect_response("**/wan-lite/check"):
        page.page.get_by_text("Wan Lite: check sampling", exact=True).click()


def test_running_is_never_blocked(page: ComfyPage, tmp_path: Path) -> None:
    wrong = lay_out(lightx2v(**WRONG))
    small = json.loads(write_workflow(tmp_path, "small", NODES).read_text())
    for node in wrong["nodes"]:
        node["mode"] = 0
    open_graph(page, tmp_path, small, "runs")
    page.page.route("**/wan-lite/check", lambda route: None)  # a server that never answers
    page.page.keyboard.press(KEYS)
    assert page.run()[-1]["kind"] == "execution_success"
    page.page.unroute("**/wan-lite/check")


def test_a_refusal_is_shown(page: ComfyPage, tmp_path: Path) -> None:
    open_graph(page, tmp_path, lay_out(lightx2v()))
    body = json.dumps({"error": "The graph cannot be checked: one sentence."})
    answer = {"status": 400, "body": body, "content_type": "application/json"}
    page.page.route("**/wan-lite/check", lambda route: route.fulfill(**answer))
    page.page.keyboard.press(KEYS)
    page.page.locator(".wl-error").wait_for()
    assert page.page.locator(".wl-error").inner_text() == "The graph cannot be checked: one sentence."


def test_chinese(chromium: Browser, comfy: Client, tmp_path: Path, screenshots: Path) -> None:
    page = new_page(chromium, comfy.url)
    try:
        page.page.evaluate("app.extensionManager.setting.set('Comfy.Locale', 'zh')")
        page.page.wait_for_timeout(2000)
        open_graph(page, tmp_path, lay_out(lightx2v(**WRONG)))
        check(page)
        head = page.page.locator(".wl-finding .wl-head").nth(1)
        head.wait_for()
        assert "引导强度" in head.inner_text() and "错误" in head.inner_text()
        assert page.page.locator(".wl-title").inner_text() == "检查采样"
        page.page.locator(".wl-finding summary").nth(1).click()
        assert "教师的引导" in page.page.locator(".wl-finding details").nth(1).inner_text()
        page.screenshot(screenshots / "check_zh.png")
        page.page.evaluate("app.extensionManager.setting.set('Comfy.Locale', 'en')")
        page.page.locator(".wl-finding").get_by_text("Guidance differs from training", exact=True).wait_for()
    finally:
        page.page.evaluate("app.extensionManager.setting.set('Comfy.Locale', 'en')")
        page.page.context.close()


def test_a_page_without_panels_shows_a_dialog(chromium: Browser, comfy: Client, tmp_path: Path) -> None:
    page = ComfyPage(chromium.new_context(viewport={"width": 1920, "height": 1080}).new_page(), comfy.url)
    page._listen()
    page.page.add_init_script(
        """const watch = setInterval(() => {
            const manager = window.app?.extensionManager;
            if (manager) { manager.registerSidebarTab = undefined; clearInterval(watch); }
        }, 0);"""
    )
    page.open()
    try:
        open_graph(page, tmp_path, lay_out(lightx2v(**WRONG)))
        assert all(node["known"] for node in page.nodes())
        check(page)
        page.page.locator(".comfy-modal .wl-finding").first.wait_for()
        assert found(page) == ["levels-differ", "cfg-differs"]
    finally:
        page.page.context.close()
