"""Worlds through a real server: a rollout with previews, an interrupt, the shipped workflows."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch

from host.client import Client, Event
from host.graphs import Graph, node
from host.server import PACK
from wan_lite.models import load_world, rollout

WORLD = "tinyworlds/current/checkpoints_current/results/2026_01_01_00_00_00"


def widget_defaults(info: dict[str, Any]) -> dict[str, Any]:
    declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return {name: settings["default"] for name, (_, settings) in declared.items() if "default" in settings}


def rolled(comfy: Client, **changes: Any) -> Graph:
    """Load the world of the vectors and roll it out from grey frames."""
    known = comfy.object_info()
    given = {"world": ["1", 0], "context": ["2", 0], "actions": ["3", 0]} | changes
    apart = {"actions_name": "(in the world)", "dynamics_name": "(in the world)", "precision": "fp32"}
    return {
        "1": node("WanLiteWorldLoader", world_name=WORLD, **apart),
        "2": node("EmptyImage", width=32, height=32, batch_size=2, color=0x808080),
        "3": node("WanLiteWorldActions", source="list", text="0, 1, 2x2", resize="error"),
        "4": node("WanLiteWorldRollout", **widget_defaults(known["WanLiteWorldRollout"]) | given),
        "5": node("SaveImage", images=["4", 0], filename_prefix="tests/world"),
        "6": node("PreviewAny", source=["4", 2]),
    }


def test_a_posted_rollout_is_the_librarys(comfy: Client) -> None:
    events: list[Event] = []
    result = comfy.queue(rolled(comfy, steps=4, maskgit_steps=4), on_event=events.append)
    assert result.status == "success", (result.error, result.node_errors)
    frames = result.images(5)
    world = load_world(comfy.base / "models" / "world_models" / WORLD)
    grey = torch.full((1, 2, 3, 32, 32), 0x80 / 255)
    expected = rollout(world, grey * 2 - 1, steps=4, actions=[0, 1, 2, 2], maskgit_steps=4).frames[0]
    wanted = ((expected.clamp(-1, 1) + 1) / 2 * 255).permute(0, 2, 3, 1).byte().numpy()
    assert len(frames) == 6
    for got, want in zip(frames, wanted, strict=True):
        assert abs(got.astype(int) - want.astype(int)).max() <= 1
    assert any(isinstance(event, bytes) for event in events), "no preview of a frame was sent"
    assert "Actions: 0, 1, 2, 2" in result.text(6)[0]


def test_a_rollout_can_be_interrupted(comfy: Client) -> None:
    started = time.monotonic()

    def stop(event: Event) -> None:
        if isinstance(event, dict) and event["type"] == "progress" and event["data"]["value"] > 3:
            comfy.interrupt()

    result = comfy.queue(rolled(comfy, steps=50_000, seed=1), on_event=stop)
    assert result.status == "interrupted" and time.monotonic() - started < 60


def test_a_wrong_size_is_one_sentence(comfy: Client) -> None:
    graph = rolled(comfy, steps=2)
    graph["2"]["inputs"]["width"] = 48
    result = comfy.queue(graph)
    assert result.status == "error" and "48x32" in result.said and "set resize to fit" in result.said
    graph["4"]["inputs"]["resize"] = "fit"
    assert comfy.queue(graph).status == "success"


@pytest.mark.parametrize("name", ["world_rollout", "world_diagnose"])
def test_the_shipped_workflow_runs(comfy: Client, name: str) -> None:
    api = json.loads((PACK / "workflows" / "api" / f"{name}.json").read_text("utf-8"))
    result = comfy.queue(api)
    assert result.status == "success", (result.error, result.node_errors)
    saved = [key for key, entry in api.items() if entry["class_type"].startswith("Save")]
    assert saved and all(result.image_bytes(key) for key in saved)
    (report,) = [key for key, entry in api.items() if entry["class_type"] == "PreviewAny"]
    assert len(result.text(report)[0]) > 100
