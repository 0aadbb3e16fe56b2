"""The route that checks the page's graph: what it answers, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from host.client import Client
from workflow_graphs import Graph, lightx2v, to_page

ROUTE = "/wan-lite/check"


def post(comfy: Client, body: bytes, headers: Mapping[str, str] = {}) -> tuple[int, dict[str, Any]]:
    return comfy.ask(ROUTE, body, headers)


def check(comfy: Client, workflow: Any) -> tuple[int, dict[str, Any]]:
    return post(comfy, json.dumps({"workflow": workflow}).encode())


@pytest.mark.parametrize("convert", [to_page, lambda graph: graph])
def test_findings_come_with_their_place_and_explanation(comfy: Client, convert: Any) -> None:
    workflow = convert(lightx2v(cfg=3))
    status, report = check(comfy, workflow)
    assert status == 200
    assert [sampler["node"] for sampler in report["samplers"]] == ["7"]
    [finding] = report["findings"]
    assert (finding["id"], finding["severity"], finding["node"]) == ("cfg-differs", "wrong", "7")
    assert finding["explanation"].startswith("Guidance differs from training.")
    [change] = finding["changes"]
    found = workflow
    for part in change["path"]:
        found = found[part]
    assert (found, change["input"], change["value"]) == (3, "cfg", 1)


def test_what_is_sampled_as_trained_has_no_findings(comfy: Client) -> None:
    assert check(comfy, to_page(lightx2v()))[1]["findings"] == []


@pytest.mark.parametrize(
    ("body", "headers", "expected", "said"),
    [
        (b"{}", {}, 400, "workflow is NoneType"),
        (b"[]", {}, 400, "send an object"),
        (b"{", {}, 400, "not JSON"),
        (b"[" * 100_000, {}, 400, "not JSON"),
        (b"\xff\xfe\xfd", {}, 400, "not JSON"),
        (b'{"workflow": {"a": 1}}', {}, 400, "not a workflow"),
        (b'{"workflow": {"nodes": [{}], "links": []}}', {}, 400, "unknown form"),
        (b'{"workflow": {}}', {"Content-Type": "text/plain"}, 415, "application/json"),
        (b" " * ((16 << 20) + 1), {}, 413, "more than 16 MiB"),
        (b"{}", {"Origin": "http://example.invalid"}, 403, ""),
        (b"{}", {"Sec-Fetch-Site": "cross-site"}, 403, ""),
    ],
)
def test_refuses_in_one_sentence(
    comfy: Client, body: bytes, headers: Mapping[str, str], expected: int, said: str
) -> None:
    status, answer = post(comfy, body, headers)
    assert status == expected
    sentence = answer.get("error", "")
    assert said in sentence and "\n" not in sentence
    assert not said or sentence.endswith(".")


def test_the_server_keeps_answering(comfy: Client) -> None:
    big: Graph = {str(i): entry for i, entry in enumerate(lightx2v().values())}
    big |= {str(i): {"class_type": "Unknown", "inputs": {}} for i in range(100, 15_000)}
    assert check(comfy, big)[0] == 200
    assert comfy.get_json("/system_stats")["system"]
