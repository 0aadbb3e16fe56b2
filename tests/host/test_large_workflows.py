"""The workflows whose models are downloaded, run through the server as they are shipped, on tiny models instead."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.regenerate import needs_download, paths_for, shipped_workflows
from host.client import Client
from host.comfyui import ComfyUI
from host.server import VECTORS, Server, make_base

LARGE = [path for path in shipped_workflows() if needs_download(path)]
STAND_INS = Path(__file__).parent / "stand_ins"
VAES = {"wan_2.1_vae": "wan21_tiny", "qwen_image_vae": "wan21_tiny", "wan2.2_vae": "wan22_tiny"}
SMALL = {"width": 64, "height": 64, "steps": 3, "length": 1, "budget_mb": 64}
"""What is made smaller, so that a run takes seconds: sizes and steps, nothing that is a way of sampling."""


def models_of(workflow: Path) -> list[tuple[str, str]]:
    """(folder, name) of every file that a workflow has its user download."""
    nodes = json.loads(workflow.read_text("utf-8"))["nodes"]
    return [(model["directory"], model["name"]) for node in nodes for model in node["properties"].get("models", [])]


@pytest.fixture(scope="module")
def stand_ins(comfyui: ComfyUI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server whose loaders give tiny models, with empty files under the names that the workflows want."""
    base = make_base(tmp_path_factory.mktemp("large"))
    (base / "custom_nodes" / STAND_INS.name).symlink_to(STAND_INS, target_is_directory=True)
    for folder, name in {pair for workflow in LARGE for pair in models_of(workflow)}:
        target = base / "models" / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder == "vae" and target.stem in VAES:
            shutil.copyfile(VECTORS / "wan_vae" / f"{VAES[target.stem]}_official.safetensors", target)
        else:
            target.touch()
    with Server(comfyui, base, arguments=("--whitelist-custom-nodes", "wan-lite", STAND_INS.name)) as server:
        yield Client(server)


def shrink(api: dict[str, Any]) -> dict[str, Any]:
    """The same graph at a size that tiny models sample in seconds."""
    for node in api.values():
        for name, value in node["inputs"].items():
            if name in SMALL and not isinstance(value, list) and value:
                node["inputs"][name] = SMALL[name]
    return api


def choices_of(info: dict[str, Any]) -> dict[str, list[str]]:
    """The lists that a node's inputs offer, by name."""
    declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    found = {}
    for name, (kind, *settings) in declared.items():
        options = kind if isinstance(kind, list) else (settings[0] if settings else {}).get("options")
        if options and isinstance(options[0], str):
            found[name] = options
    return found


def test_there_are_workflows_for_models_that_people_have() -> None:
    assert len(LARGE) >= 7


@pytest.mark.parametrize("workflow", LARGE, ids=lambda path: path.stem)
def test_the_shipped_file_is_valid_and_runs(stand_ins: Client, workflow: Path) -> None:
    api = json.loads(paths_for(workflow)[0].read_text("utf-8"))
    known = stand_ins.object_info()
    for node in api.values():
        for name, options in choices_of(known[node["class_type"]]).items():
            value = node["inputs"].get(name, options[0])
            assert isinstance(value, list) or value in options, (node["class_type"], name, value)
    result = stand_ins.queue(shrink(api))
    assert result.status == "success", (result.error, result.node_errors)
    saves = [key for key, node in api.items() if node["class_type"] == "SaveImage"]
    assert saves and all(image.std() > 0 for key in saves for image in result.images(key))
