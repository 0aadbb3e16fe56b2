"""The workflows whose models are downloaded, run through the server as they are shipped, on tiny models instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from browser.regenerate import paths_for
from host.client import Client
from host.large_models import LARGE, SAVERS, shrink


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
    stand_ins.skip_where_absent(node["class_type"] for node in api.values())
    known = stand_ins.object_info()
    for node in api.values():
        for name, options in choices_of(known[node["class_type"]]).items():
            value = node["inputs"].get(name, options[0])
            assert isinstance(value, list) or value in options, (node["class_type"], name, value)
    result = stand_ins.queue(shrink(api))
    assert result.status == "success", (result.error, result.node_errors)
    saves = [key for key, node in api.items() if node["class_type"] in SAVERS]
    assert saves and all(image.std() > 0 for key in saves for image in result.images(key))
