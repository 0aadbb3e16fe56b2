"""The player's routes: a node is played after its run, and whoever is not the page is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from host.client import Client

PLAY: dict[str, Any] = {
    "1": {"class_type": "WanLiteWorldLoader", "inputs": {"world_name": "wan-lite-demo/world.safetensors"}},
    "2": {"class_type": "ImageFromBatch", "inputs": {"image": ["1", 1], "batch_index": 0, "length": 4}},
    "70": {"class_type": "WanLiteWorldPlay", "inputs": {"world": ["1", 0], "context": ["2", 0], "maskgit_steps": 1}},
    "4": {"class_type": "PreviewImage", "inputs": {"images": ["70", 0]}},
}
NODE = {"workflow": "", "node": "70"}
LARGEST = 2 << 20


def post(comfy: Client, call: str, body: bytes, headers: Mapping[str, str] = {}) -> tuple[int, dict[str, Any]]:
    return comfy.ask(f"/wan-lite/play/{call}", body, headers)


def ask(comfy: Client, call: str, **message: Any) -> tuple[int, dict[str, Any]]:
    return post(comfy, call, json.dumps(message).encode())


def test_a_node_is_played_after_its_run(comfy: Client) -> None:
    assert comfy.queue(PLAY).status == "success"
    status, opened = ask(comfy, "open", **NODE)
    assert status == 200 and opened["actions"] == ["stay", "left", "right", "stretch"] and opened["size"] == 32
    key = opened["session"]
    assert [ask(comfy, "step", session=key, action=2)[1]["step"] for _ in range(3)] == [1, 2, 3]
    record = ask(comfy, "record", session=key)[1]["record"]
    queued = {**PLAY, "70": {**PLAY["70"], "inputs": {**PLAY["70"]["inputs"], "session": record}}}
    assert len(comfy.queue(queued).images("4")) == 4
    assert ask(comfy, "step", session=key, action=2)[1]["step"] == 4
    assert ask(comfy, "close", session=key)[0] == 200
    assert ask(comfy, "step", session=key, action=2)[0] == 410


@pytest.mark.parametrize("call", ["open", "close", "step", "undo", "reset", "configure", "record", "ping"])
@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff\xfe\xfd", {}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b" " * (LARGEST + 1), {}, 413),
        (b"{}", {"Origin": "http://example.invalid"}, 403),
        (b"{}", {"Sec-Fetch-Site": "cross-site"}, 403),
    ],
    ids=range(8),
)
def test_who_is_not_the_page_is_refused(
    comfy: Client, call: str, body: bytes, headers: Mapping[str, str], expected: int
) -> None:
    status, answer = post(comfy, call, body, headers)
    assert status == expected and "\n" not in answer.get("error", "")


@pytest.mark.parametrize("key", ["", "guess", None, 3, ["a"], "../../etc/passwd"])
def test_a_session_wants_its_key(comfy: Client, key: Any) -> None:
    for call in ("step", "undo", "reset", "configure", "record", "ping"):
        assert ask(comfy, call, session=key, action=0)[0] == 410


@pytest.mark.parametrize(
    "node", ["../../etc/passwd", "/etc/passwd", "wan-lite-demo/world.safetensors", "", None, {}, 7]
)
def test_a_name_opens_no_file(comfy: Client, node: Any) -> None:
    """Only nodes that have run are played; where a name comes from, nothing is read."""
    assert ask(comfy, "open", workflow=node, node=node) == (200, {"session": None})


@pytest.mark.parametrize(
    "message", [{"record": "{}"}, {"record": "x" * 1000}, {"seed": -1}, {"settings": {"horizon": 2}}, {"settings": []}]
)
def test_what_is_opened_is_checked(comfy: Client, message: dict[str, Any]) -> None:
    assert comfy.queue(PLAY).status == "success"
    status, answer = ask(comfy, "open", **NODE, **message)
    assert status == 400 and answer["error"].endswith(".") and "Traceback" not in answer["error"]
