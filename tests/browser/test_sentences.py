"""What a node refuses stands on the node, where the eye is, without a click."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from browser.page import ComfyPage, RunFailed
from host.server import PACK

SET = "([id, name, value]) => { app.graph.getNodeById(id).widgets.find(w => w.name === name).value = value }"
ID_OF = "type => app.graph.nodes.find(node => node.type === type).id"
TEXT_ON_NODE = """id => {
    const isSentence = widget => typeof widget.value === "string" && widget.value.includes("shift:");
    const widget = app.graph.getNodeById(id).widgets.find(isSentence);
    return widget?.value ?? "";
}"""


def refuse(page: ComfyPage, workflow: Path, kind: str, name: str, value: float) -> tuple[int, str]:
    """Run a workflow with one value changed and return the node's id and what the failed run said."""
    page.drop(workflow)
    node_id = int(page.page.evaluate(ID_OF, kind))
    page.page.evaluate(SET, [node_id, name, value])
    with pytest.raises(RunFailed) as failed:
        page.run()
    return node_id, str(failed.value)


def test_the_remedy_is_read_on_the_node(page: ComfyPage, screenshots: Path) -> None:
    workflow = PACK / "workflows" / "student_flow_unipc.json"
    node_id, said = refuse(page, workflow, "WanLiteFlowUniPCSampler", "shift", 3.0)
    sentence = said.splitlines()[0].strip()
    assert re.search(r"shift.* 5.* 3.*Set shift to 5", sentence), said
    page.page.wait_for_timeout(1000)
    assert sentence in page.page.evaluate(TEXT_ON_NODE, node_id)
    page.screenshot(screenshots / "refusal.png")
    shown = page.page.get_by_text("Set shift to 5")
    assert any(shown.nth(i).is_visible() for i in range(shown.count()))
