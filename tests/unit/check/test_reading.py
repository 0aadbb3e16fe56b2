"""Workflow files to resolved graphs: what a file stores, and what runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from wan_lite.check.graph.files import read_document
from wan_lite.check.graph.graph import Graph, Link, WorkflowError
from wan_lite.check.graph.node_table import find_type
from wan_lite.check.graph.read import read_graph

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "workflows").glob("*.json"))


def prompt_of(graph: Graph) -> dict[str, Any]:
    """The graph as the page posts it."""
    return {
        node.id: (node.type, {name: list(v) if isinstance(v, Link) else v for name, v in node.inputs.items()})
        for node in graph
    }


def node(number: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, "mode": 0, "inputs": [], "outputs": [], "widgets_values": [], **more}


def slot(name: str, kind: str, link: int | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, **more}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_workflows_resolve_to_what_the_page_made_of_them(path: Path) -> None:
    posted = json.loads((path.parent / "api" / path.name).read_text("utf-8"))
    mine = prompt_of(read_graph(json.loads(path.read_text("utf-8"))))
    assert set(mine) == set(posted)
    for key, entry in posted.items():
        kind, inputs = mine[key]
        assert kind == entry["class_type"]
        for name, value in entry["inputs"].items():
            if find_type(kind) or isinstance(value, list):
                assert inputs[name] == value, (key, name)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_api_format_holds_the_same_graph(path: Path) -> None:
    posted = json.loads((path.parent / "api" / path.name).read_text("utf-8"))
    api, ui = prompt_of(read_graph(posted)), prompt_of(read_graph(json.loads(path.read_text("utf-8"))))
    assert {key: kind for key, (kind, _) in api.items()} == {key: kind for key, (kind, _) in ui.items()}


def lora_chain(mode: int) -> dict[str, Any]:
    return {
        "nodes": [
            node(1, "UNETLoader", outputs=[{"type": "MODEL"}], widgets_values=["a.safetensors", "default"]),
            node(2, "LoraLoaderModelOnly", mode=mode, inputs=[slot("model", "MODEL", 1)], outputs=[{"type": "MODEL"}]),
            node(3, "Reroute", inputs=[slot("", "*", 2)], outputs=[{"type": "*"}]),
            node(4, "ModelSamplingSD3", inputs=[slot("model", "MODEL", 3)], widgets_values=[5]),
        ],
        "links": [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"], [3, 3, 0, 4, 0, "MODEL"]],
    }


@pytest.mark.parametrize(("mode", "model"), [(0, Link("2", 0)), (4, Link("1", 0)), (2, None)])
def test_bypassed_passes_on_and_muted_does_not(mode: int, model: Link | None) -> None:
    graph = read_graph(lora_chain(mode))
    assert graph.nodes["4"].link("model") == model
    assert ("2" in graph.nodes) == (mode == 0)
    assert "3" not in graph.nodes
    assert graph.nodes["4"].inputs["shift"] == 5
    assert graph.nodes["4"].paths["shift"] == ("nodes", 3, "widgets_values", 0)


def with_subgraph(uses: int = 1) -> dict[str, Any]:
    inner = {
        "id": "aaaa",
        "name": "sampling",
        "nodes": [
            node(1, "UNETLoader", outputs=[{"type": "MODEL"}], widgets_values=["a.safetensors", "default"]),
            node(7, "ModelSamplingSD3", widgets_values=[3],
                 inputs=[slot("model", "MODEL", 1), slot("shift", "FLOAT", 2, widget={"name": "shift"})]),
        ],
        "links": [
            {"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": 7, "target_slot": 0, "type": "MODEL"},
            {"id": 2, "origin_id": -10, "origin_slot": 0, "target_id": 7, "target_slot": 1, "type": "FLOAT"},
            {"id": 3, "origin_id": 7, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "MODEL"},
        ],
        "inputs": [{"name": "shift", "type": "FLOAT", "linkIds": [2]}],
        "outputs": [{"name": "MODEL", "type": "MODEL", "linkIds": [3]}],
    }  # fmt: skip
    owners = [node(10 + i, "aaaa", outputs=[{"type": "MODEL"}], widgets_values=[4.5 + i]) for i in range(uses)]
    reader = node(1, "ModelSave", inputs=[slot("model", "MODEL", 9)], widgets_values=["x"])
    return {
        "last_node_id": 30,
        "nodes": [reader, *owners],
        "links": [[9, 10, 0, 1, 0, "MODEL"]],
        "definitions": {"subgraphs": [inner]},
    }


def test_subgraphs_are_taken_apart() -> None:
    graph = read_graph(with_subgraph())
    # the loader's id 1 is taken in the root graph: the page gives it the next free one
    assert set(graph.nodes) == {"1", "10:31", "10:7"}
    assert graph.nodes["1"].link("model") == Link("10:7", 0)
    assert graph.nodes["10:7"].link("model") == Link("10:31", 0)
    assert graph.nodes["10:7"].inputs["shift"] == 4.5
    assert graph.nodes["10:7"].paths["shift"] == ("nodes", 1, "widgets_values", 0)
    assert graph.nodes["10:31"].paths["unet_name"] is not None


def test_values_inside_a_subgraph_that_is_used_twice_have_no_place_of_their_own() -> None:
    graph = read_graph(with_subgraph(uses=2))
    assert [graph.nodes[f"{owner}:7"].inputs["shift"] for owner in (10, 11)] == [4.5, 5.5]
    assert graph.nodes["11:31"].paths["unet_name"] is None
    assert graph.nodes["11:7"].paths["shift"] == ("nodes", 2, "widgets_values", 0)


def test_primitives_write_their_value() -> None:
    document = lora_chain(0)
    document["nodes"].append(node(5, "PrimitiveNode", widgets_values=[8, "fixed"], outputs=[{"type": "FLOAT"}]))
    document["nodes"][3]["inputs"].append(slot("shift", "FLOAT", 4, widget={"name": "shift"}))
    document["links"].append([4, 5, 0, 4, 1, "FLOAT"])
    graph = read_graph(document)
    assert graph.nodes["4"].inputs["shift"] == 8
    assert graph.nodes["4"].paths["shift"] == ("nodes", 4, "widgets_values", 0)


def test_names_of_widgets_come_from_the_file_where_the_node_is_unknown() -> None:
    named = [slot(name, "INT", None, widget={"name": name}) for name in ("seed", "steps")]
    document = {"nodes": [node(1, "SomeSampler", inputs=named, widgets_values=[7, "randomize", 20])], "links": []}
    assert read_graph(document).nodes["1"].inputs == {"seed": 7, "steps": 20}
    document["nodes"][0]["widgets_values"] = [7, "randomize", 20, "what is this?"]
    assert read_graph(document).nodes["1"].inputs == {}


def test_both_formats_are_found_in_images(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", json.dumps({"1": {"class_type": "A", "inputs": {}}}))
    Image.new("RGB", (8, 8)).save(tmp_path / "api.png", pnginfo=texts)
    texts.add_text("workflow", json.dumps(lora_chain(0)))
    Image.new("RGB", (8, 8)).save(tmp_path / "both.png", pnginfo=texts)
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps({"1": {"class_type": "A", "inputs": {}}})
    Image.new("RGB", (8, 8)).save(tmp_path / "api.webp", exif=exif)
    for name, key, kinds in [
        ("api.png", "prompt", {"A"}),
        ("both.png", "workflow", None),
        ("api.webp", "prompt", {"A"}),
    ]:
        document = read_document(tmp_path / name)
        assert document.key == key
        assert kinds is None or {node.type for node in read_graph(document.content)} == kinds


def test_workflows_are_found_in_videos(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    for name, entries in [
        ("core.mp4", {"prompt": json.dumps({"1": {"class_type": "A", "inputs": {}}})}),
        ("suite.mp4", {"comment": json.dumps({"workflow": lora_chain(0)})}),
    ]:
        with av.open(str(tmp_path / name), "w", options={"movflags": "use_metadata_tags"}) as container:
            container.metadata.update(entries)
            stream = container.add_stream("mpeg4", rate=8)
            stream.width = stream.height = 32
            for packet in [*stream.encode(av.VideoFrame(32, 32, "yuv420p")), *stream.encode()]:
                container.mux(packet)
    assert read_document(tmp_path / "core.mp4").key == "prompt"
    assert "nodes" in read_document(tmp_path / "suite.mp4").content


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{", "not JSON"),
        ("a.json", b"[1, 2]", "list"),
        ("a.json", b"\xff\xfe", "UTF-8"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.png", b"no image", "PNG"),
        ("a.webp", b"no image", "WEBP"),
        ("a.mp4", b"no video", "video"),
    ],
)
def test_unreadable_files_are_said_in_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkflowError, match=said) as error:
        read_document(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_image_without_a_workflow_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "bare.png")
    with pytest.raises(WorkflowError, match="carries no workflow"):
        read_document(tmp_path / "bare.png")


def circle() -> dict[str, Any]:
    document = lora_chain(0)
    document["nodes"][2]["inputs"] = [slot("", "*", 9)]
    document["links"].append([9, 3, 0, 3, 0, "*"])
    return document


def recursive() -> dict[str, Any]:
    document = with_subgraph()
    document["definitions"]["subgraphs"][0]["nodes"].append(node(9, "aaaa"))
    return document


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "not a workflow"),
        ({"nodes": [{"id": 1}]}, "unknown form"),
        ({"nodes": [3]}, "unknown form"),
        ({"nodes": [], "links": [[1]]}, "unknown form"),
        (circle(), "circle"),
        (recursive(), "contains itself"),
        ({str(i): {"class_type": "A"} for i in range(20_001)}, "20001 nodes"),
    ],
)
def test_damaged_workflows_are_said_in_one_sentence(document: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkflowError, match=said):
        read_graph(document)
