"""Graphs in API form outlive the version they were made with: each node gets one more input, and every file runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from host.client import Client
from host.comfyui import ComfyUI
from host.server import PACK, PACK_NAME, Server, make_base

FILES = sorted((PACK / "workflows" / "api").glob("*.json"))
DEMO = "wan-lite-demo/"
RUN = ("student_flow_unipc", "vae_round_trip")  # a few seconds each; the others are only queued


@pytest.fixture(scope="module")
def later(comfyui: ComfyUI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server whose Wan Lite is of a later version."""
    base = make_base(tmp_path_factory.mktemp("later"), with_models=False)
    place = base / "custom_nodes" / PACK_NAME
    place.unlink()
    place.symlink_to(Path(__file__).parent / "grown_pack", target_is_directory=True)
    Image.new("RGB", (64, 64)).save(base / "input" / "example.png")  # every ComfyUI comes with an image of this name
    with Server(comfyui, base, environment={"WAN_LITE_PACK": str(PACK)}) as server:
        yield Client(server)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def test_every_node_has_the_input_at_its_end(later: Client) -> None:
    ours = {name: info for name, info in later.object_info().items() if name.startswith("WanLite")}
    assert len(ours) >= 25
    assert all(list(info["input"]["optional"])[-1] == "one_more" for info in ours.values())


def needs_download(graph: dict[str, Any]) -> bool:
    """Whether a graph names a file that does not come with the pack, which the host refuses as not in its list."""
    values = [str(value) for entry in graph.values() for value in entry["inputs"].values()]
    return any(value.endswith((".safetensors", ".pth")) and not value.startswith(DEMO) for value in values)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_graph_is_taken(later: Client, path: Path) -> None:
    if path.stem in RUN:
        result = later.queue(read(path))
        assert result.status == "success", (result.error, result.node_errors)
        return
    later.skip_where_absent(node["class_type"] for node in read(path).values())
    answer = later.validate(read(path))
    complaints = {(kind, name) for _, kind, name, _ in answer.validation_errors()}
    if needs_download(read(path)):
        assert {kind for kind, _ in complaints} == {"value_not_in_list"}, complaints
    else:
        assert answer.status != "invalid" and not complaints, (answer.error, complaints)
