"""A shared file opens elsewhere: what the graphs carry for a machine without the pack or the models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from host.client import Client
from host.graphs import png_texts
from host.server import PACK
from wan_lite import __version__

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
DEMO = PACK / "demo" / "models"


def nodes_of(path: Path) -> list[dict[str, Any]]:
    return [node for node in json.loads(path.read_text("utf-8"))["nodes"] if node["type"] != "MarkdownNote"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_node_says_which_pack_it_is_from(path: Path) -> None:
    for node in nodes_of(path):
        properties = node["properties"]
        own = node["type"].startswith("WanLite")
        assert properties["Node name for S&R"] == node["type"]
        assert properties["cnr_id"] == ("wan-lite" if own else "comfy-core"), node["type"]
        assert re.fullmatch(r"\d+\.\d+\.\d+", properties["ver"]), node["type"]
        assert not own or properties["ver"] == __version__


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_file_comes_with_the_pack_or_says_where_it_is(path: Path) -> None:
    for node in nodes_of(path):
        files = [value for value in node.get("widgets_values", []) if str(value).endswith((".safetensors", ".pth"))]
        offered = {model["name"]: model for model in node["properties"].get("models", [])}
        for name in files:
            if name.startswith("wan-lite-demo/"):
                assert list(DEMO.glob(f"*/{name}")), name
            else:
                model = offered[name]
                assert model["url"].startswith("https://") and model["url"].endswith(name) and model["directory"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_of_the_authors_machine_is_in_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"/(home|root|work|Users|tmp)/|[A-Z]:\\\\", text)
    assert "\\\\" not in "".join(str(value) for node in nodes_of(path) for value in node.get("widgets_values", []))


def test_a_png_made_headless_carries_graph_and_contract(comfy: Client) -> None:
    """Queued with the page's form beside it, a saved picture opens in the page by drag and drop."""
    api = json.loads((PACK / "workflows" / "api" / "student_flow_unipc.json").read_text("utf-8"))
    graph = json.loads((PACK / "workflows" / "student_flow_unipc.json").read_text("utf-8"))
    for node in api.values():
        if node["class_type"] == "WanLiteEmptyLatent":
            node["inputs"]["batch_size"] = 1
    result = comfy.queue(api, {"extra_pnginfo": {"workflow": graph}})
    assert result.status == "success", result.error
    (save,) = [key for key, node in api.items() if node["class_type"] == "SaveImage"]
    texts = png_texts(result.image_bytes(save)[0])
    assert texts["workflow"] == graph
    (contract,) = texts["wan_lite.sampling_contract"].values()
    assert (contract["solver"], contract["prediction"], contract["shift"]) == ("flow_unipc", "velocity", 5.0)
