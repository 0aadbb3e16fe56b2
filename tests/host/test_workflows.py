"""The shipped workflows against the nodes as this ComfyUI has them: both forms, every value, and a run of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from host.client import Client
from host.graphs import png_texts
from host.server import PACK
from wan_lite.cli import main

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
STUDENT_WORKFLOWS = [
    path for path in WORKFLOWS if path.stem in ("student_ddim_training_sampling", "student_flow_unipc")
]
DEMO = PACK / "demo" / "models"
SERVER_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def name_of(path: Path) -> str:
    return path.stem


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def widgets_of(info: dict[str, Any]) -> list[tuple[str, Any, dict[str, Any]]]:
    """(name, kind, options) of a node's widgets in the order in which workflows store their values."""
    declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    found = []
    for name, (kind, *options) in declared.items():
        settings = options[0] if options else {}
        if (isinstance(kind, list) or kind in SERVER_WIDGETS) and not settings.get("forceInput"):
            found.append((name, kind, settings))
            if settings.get("control_after_generate"):
                found.append((f"{name} control", ["fixed", "increment", "decrement", "randomize"], {}))
            if settings.get("image_upload"):
                found.append((f"{name} control", ["image"], {}))
    return found


def allowed(kind: Any, settings: dict[str, Any], value: Any) -> bool:
    """Whether a stored value is one that the widget can have; files of other machines are not looked up."""
    if isinstance(kind, list) or kind == "COMBO":
        choices = kind if isinstance(kind, list) else settings["options"]
        return value in choices or str(value).endswith((".safetensors", ".pth", ".png"))
    if kind in ("INT", "FLOAT"):
        return settings.get("min", value) <= value <= settings.get("max", value)
    return isinstance(value, {"STRING": str, "BOOLEAN": bool}[kind])


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_every_node_link_and_value_is_one_that_exists(comfy: Client, path: Path) -> None:
    graph, known = read(path), comfy.object_info()
    comfy.skip_where_absent(node["type"] for node in graph["nodes"])
    assert graph["version"] == 0.4
    nodes = {node["id"]: node for node in graph["nodes"]}
    for node in nodes.values():
        if node["type"] in ("MarkdownNote", "Note"):
            continue
        info = known[node["type"]]
        expected, values = widgets_of(info), node.get("widgets_values", [])
        assert len(values) == len(expected), (node["type"], values, [name for name, *_ in expected])
        for value, (name, kind, settings) in zip(values, expected, strict=True):
            to_download = [model["name"] for model in node["properties"].get("models", [])]
            assert value in to_download or allowed(kind, settings, value), (node["type"], name, value)
        declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        assert {entry["name"] for entry in node["inputs"]} <= set(declared)
        outputs = [entry["type"] for entry in node["outputs"]]
        if not node["type"].startswith("WanLite"):  # core's SaveImage has got an output that older hosts lack
            used = [number for number, entry in enumerate(node["outputs"]) if entry["links"]]
            outputs = outputs[: max([len(info["output"]), *(number + 1 for number in used)])]
        assert outputs == info["output"][: len(outputs)]
    for link, start, start_slot, end, end_slot, kind in graph["links"]:
        leaves, arrives = nodes[start]["outputs"][start_slot], nodes[end]["inputs"][end_slot]
        assert link in leaves["links"] and arrives["link"] == link and kind == leaves["type"]
        assert arrives["type"] in (kind, "*")


def size_of(node: dict[str, Any]) -> list[float]:
    """Width and height as drawn: a folded node is only its title, which stands above its place."""
    return [node["size"][0], 0 if node["flags"].get("collapsed") else node["size"][1]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_the_graph_teaches(path: Path) -> None:
    """A note, groups, and no node outside of them or on top of another."""
    graph = read(path)
    notes = [node for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and all(len(note["widgets_values"][0]) > 400 for note in notes) and len(graph["groups"]) >= 2
    working = [node for node in graph["nodes"] if node not in notes]
    for node in working:
        (x, y), (width, height) = node["pos"], size_of(node)
        name = node.get("title", node["type"])
        boxes = [group["bounding"] for group in graph["groups"]]
        assert any(
            left <= x and top <= y and x + width <= left + w and y + height <= top + h for left, top, w, h in boxes
        ), name
        for other in graph["nodes"]:
            (a, b), (w, h) = other["pos"], size_of(other)
            apart = x + width <= a or a + w <= x or y + height <= b - 30 or b + h <= y - 30
            assert other is node or apart, (name, other["type"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_api_form_is_the_same_graph(comfy: Client, path: Path) -> None:
    graph, api, known = read(path), read(path.parent / "api" / path.name), comfy.object_info()
    comfy.skip_where_absent(node["type"] for node in graph["nodes"])
    ends = {link: [str(start), slot] for link, start, slot, *_ in graph["links"]}
    expected = {}
    for node in graph["nodes"]:
        if node["type"] in ("MarkdownNote", "Note"):
            continue
        values = dict(zip([name for name, *_ in widgets_of(known[node["type"]])], node["widgets_values"], strict=True))
        inputs = {name: value for name, value in values.items() if not name.endswith(" control")}
        inputs |= {entry["name"]: ends[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        expected[str(node["id"])] = (node["type"], inputs)
    assert {key: (node["class_type"], node["inputs"]) for key, node in api.items()} == expected


def options_of(api: dict[str, Any]) -> list[str]:
    """The command line that paints the same as a student workflow."""
    by_type = {node["class_type"]: node["inputs"] for node in api.values()}
    sampler = "ddim" if "WanLiteDDIMSampler" in by_type else "flow-unipc"
    numbers = by_type["WanLiteDDIMSampler" if sampler == "ddim" else "WanLiteFlowUniPCSampler"]
    files = {
        "--student": by_type["WanLiteStudentLoader"]["student_name"],
        "--vae": by_type["WanLiteVAELoader"]["vae_name"],
        "--embeds": by_type["WanLiteTextEmbedsLoad"]["name"],
    }
    options = [part for key, name in files.items() for part in (key, str(next(DEMO.glob(f"*/{name}"))))]
    options[-1] += ":0"
    options += ["--sampler", sampler, "--seed", str(numbers["seed"])]
    return [*options, "--steps", str(numbers["steps"]), "--shift", str(numbers["shift"])]


@pytest.mark.parametrize("path", STUDENT_WORKFLOWS, ids=name_of)
def test_it_paints_what_the_command_line_paints(comfy: Client, tmp_path: Path, path: Path) -> None:
    api = read(path.parent / "api" / path.name)
    result = comfy.queue(api)
    assert result.status == "success", (result.error, result.node_errors)
    (save,) = [key for key, node in api.items() if node["class_type"] == "SaveImage"]
    pictures = result.images(save)
    assert len(pictures) == 12 and all(picture.std() > 5 for picture in pictures)
    (sampler,) = [key for key, node in api.items() if node["class_type"].endswith("Sampler")]
    meta = png_texts(result.image_bytes(save)[0])["prompt"][sampler]["_meta"]
    assert meta["wan_lite.sampling_contract"]["source"] == "declared"
    assert main(["sample", *options_of(api), "--out", str(tmp_path), "--quiet"]) == 0
    (alone,) = [np.asarray(Image.open(file)) for file in tmp_path.glob("*.png")]
    difference = np.abs(alone.astype(int) - pictures[0])
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01, difference.max()
    alone_api = json.loads(json.dumps(api))
    for node in alone_api.values():
        if node["class_type"] == "WanLiteEmptyLatent":
            node["inputs"]["batch_size"] = 1
        if node["class_type"] == "WanLiteTextEmbedsLoad":
            node["inputs"]["index"] = 0
    assert np.array_equal(comfy.queue(alone_api).images(save)[0], alone), (
        "alone, the picture is the same to the last bit"
    )
