"""The pack in a real server: it is there, it is light, its port speaks, and the server is left as it was found."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from host.client import Client, Event
from host.server import PACK_NAME

LOADS_NOTHING: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 0x336699}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "harness"}},
}


def test_every_node_of_the_pack_is_offered(comfy: Client) -> None:
    ours = {name: info for name, info in comfy.object_info().items() if name.startswith("WanLite")}
    assert {"WanLiteVAELoader", "WanLiteStudentLoader", "WanLiteFlowUniPCSampler", "WanLiteDDIMSampler"} <= ours.keys()
    for name, info in ours.items():
        assert info["python_module"] == f"custom_nodes.{PACK_NAME}", name
        assert info["category"].startswith("Wan Lite"), name


def test_pack_is_imported_once_and_whole(comfy: Client, record_property: Callable[[str, object], None]) -> None:
    """How long it took is kept for the report; what may be asked of it is check_harness's affair."""
    times = re.findall(r"([\d.]+) seconds( \(IMPORT FAILED\))?: \S*/wan-lite$", comfy.server.log(), re.MULTILINE)
    assert len(times) == 1, comfy.server.log_tail()
    assert not times[0][1], comfy.server.log_tail()
    record_property("seconds that the pack adds to the start", float(times[0][0]))


def test_images_come_back_as_they_were_saved(comfy: Client) -> None:
    result = comfy.queue(LOADS_NOTHING)
    assert (result.status, result.error, result.node_errors) == ("success", None, {})
    images = result.images("2")
    assert [image.shape for image in images] == [(8, 16, 3)] * 2
    assert (images[0] == [0x33, 0x66, 0x99]).all()
    assert len(list((comfy.base / "output").glob("harness_*.png"))) >= 2


def test_events_of_a_run_are_seen(comfy: Client) -> None:
    events: list[Event] = []
    result = comfy.queue(
        LOADS_NOTHING | {"3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}, on_event=events.append
    )
    kinds = [event["type"] for event in events if isinstance(event, dict)]
    assert result.status == "success"
    assert "execution_start" in kinds
    assert kinds[-1] == "execution_success"


def test_a_refused_graph_says_why(comfy: Client) -> None:
    wrong = {"1": LOADS_NOTHING["1"] | {"inputs": {"width": -1}}, "2": LOADS_NOTHING["2"]}
    result = comfy.queue(wrong)
    assert result.status == "invalid"
    assert ("1", "value_smaller_than_min", "width") in [entry[:3] for entry in result.validation_errors()]


def test_an_error_in_a_node_is_reported_and_the_queue_goes_on(comfy: Client) -> None:
    bad = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "no such picture.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "harness"}},
    }
    assert comfy.queue(bad).status == "invalid"
    assert comfy.queue(LOADS_NOTHING).status == "success"
