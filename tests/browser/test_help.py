"""Help and languages, as the page shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browser.page import ComfyPage, new_page
from host.client import Client
from host.server import PACK

ADD = """type => {
    const node = LiteGraph.createNode(type);
    app.graph.clear();
    app.graph.add(node);
    app.canvas.selectNode(node);
    app.canvas.setDirty(true, true);
}"""
WIDER_THAN_THE_PANEL = """() => [...document.querySelectorAll('td')].filter(cell => {
    const table = cell.closest('table'), frame = table.parentElement.getBoundingClientRect();
    return cell.getBoundingClientRect().right > frame.right + 1;
}).map(cell => cell.textContent)"""
PICTURES = "[...document.querySelectorAll('img')].filter(image => image.src.includes('/wan-lite/docs/'))"


@pytest.fixture
def chinese_page(chromium: Browser, comfy: Client) -> Iterator[ComfyPage]:
    """A page in Chinese."""
    opened = new_page(chromium, comfy.url)
    opened.page.evaluate("app.extensionManager.setting.set('Comfy.Locale', 'zh')")
    opened.page.wait_for_timeout(500)
    opened.open()
    yield opened
    opened.page.evaluate("app.extensionManager.setting.set('Comfy.Locale', 'en')")
    opened.page.wait_for_timeout(500)
    opened.page.context.close()


def test_node_info_shows_the_help_page_with_its_picture(page: ComfyPage) -> None:
    for node_type in ("WanLiteFlowUniPCSampler", "WanLiteWorldRollout"):
        page.page.evaluate(ADD, node_type)
        page.page.get_by_test_id("info-button").click()
        loaded = f"{PICTURES}.some(image => image.src.endsWith('{node_type}.jpg') && image.naturalWidth > 0)"
        page.page.wait_for_function(loaded, timeout=20_000)
        for heading in ("Inputs", "Outputs", "Example", "When something goes wrong"):
            assert page.page.get_by_role("heading", name=heading, exact=True).count() >= 1, heading
        shown = page.page.inner_text("body")
        assert "on_mismatch" in shown or "temperature" in shown
        assert "<!--" not in shown and "<br>" not in shown and "<wbr>" not in shown
        assert page.page.evaluate(WIDER_THAN_THE_PANEL) == []
    assert not [request for request in page.failed_requests if "/docs/" in request]


def test_names_and_tooltips_are_chinese_where_the_page_is(chinese_page: ComfyPage) -> None:
    texts = json.loads((PACK / "locales" / "zh" / "nodeDefs.json").read_text("utf-8"))
    for node_type in ("WanLiteFlowUniPCSampler", "WanLiteWorldRollout"):
        title, labels = chinese_page.page.evaluate(
            """type => {
                const node = LiteGraph.createNode(type);
                return [node.title, Object.fromEntries(node.widgets.map(widget => [widget.name, widget.label]))];
            }""",
            node_type,
        )
        assert title == texts[node_type]["display_name"]
        for name, entry in texts[node_type]["inputs"].items():
            assert name not in labels or labels[name] == entry["name"]
