"""What a node shows under itself has room for all its lines."""

from __future__ import annotations

import json

from browser.page import ComfyPage
from browser.regenerate import shipped_workflows
from host.client import Client

LOAD = "async graph => { await app.loadGraphData(graph); }"
SHOWN = """() => {
    const node = app.graph.nodes.find(({type}) => type === 'WanLiteStudentLoader');
    const widget = node.widgets.find(({name}) => name === '$$node-text-preview');
    return {text: widget.value, height: widget.computedHeight, below: node.size[1] - widget.y - widget.computedHeight};
}"""
LINE = 16


def test_the_students_facts_are_shown_whole(page: ComfyPage, comfy: Client) -> None:
    comfy.post_json("/free", {"unload_models": True, "free_memory": True})  # a node that is cached shows nothing
    (workflow,) = [path for path in shipped_workflows() if path.stem == "student_flow_unipc"]
    page.page.evaluate(LOAD, json.loads(workflow.read_text("utf-8")))
    page.run()
    page.page.wait_for_timeout(500)
    shown = page.page.evaluate(SHOWN)
    assert len(shown["text"].splitlines()) == 5
    assert shown["height"] >= 5 * LINE
    assert shown["below"] >= 0
