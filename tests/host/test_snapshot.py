"""Today's nodes against the released ones: what saved workflows depend on may grow, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from host.client import Client
from host.comfyui import skip_on_older
from host.frozen import NODES_FILE, WORKFLOWS_FOLDER, broken_promises, public_parts, read, workflow_problems
from host.server import PACK

RELEASED = sorted(WORKFLOWS_FOLDER.glob("*.json"))


def replaced_ids(comfy: Client) -> set[str]:
    """The ids that this ComfyUI replaces; none where it cannot replace any yet."""
    return set(comfy.get_json("/api/node_replacements")) if can_replace(comfy) else set()


def can_replace(comfy: Client) -> bool:
    return (comfy.server.comfyui.root / "app" / "node_replace_manager.py").is_file()


def test_released_nodes_keep_their_promises(comfy: Client) -> None:
    now = public_parts(comfy.object_info())
    problems = broken_promises(read(NODES_FILE), now, replaced_ids(comfy))
    assert not problems, "\n".join(problems)


def test_every_node_is_frozen(comfy: Client) -> None:
    now, frozen = public_parts(comfy.object_info()), read(NODES_FILE)
    new = {name for name, part in now.items() if frozen.get(name) != part}
    assert not new, f"new nodes, inputs or outputs of {sorted(new)} are not frozen; run `python scripts/freeze.py`."


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_released_workflow_still_opens(comfy: Client, path: Path) -> None:
    problems = workflow_problems(read(path), public_parts(comfy.object_info()))
    assert not problems, f"{path.name} as released: " + " ".join(problems)


def test_every_shipped_workflow_is_frozen() -> None:
    shipped = {path.name for path in (PACK / "workflows").glob("*.json")}
    assert shipped == {path.name for path in RELEASED}, (
        "run `python scripts/freeze.py`; a released workflow keeps its name"
    )


def changed(**changes: Any) -> dict[str, Any]:
    frozen = copy.deepcopy(read(NODES_FILE))
    frozen["WanLiteFlowSchedule"].update(changes)
    return frozen


def test_a_new_id_is_found_unless_it_is_registered() -> None:
    frozen, now = read(NODES_FILE), read(NODES_FILE)
    now["WanLiteFlowSigmas"] = now.pop("WanLiteFlowSchedule")
    (sentence,) = broken_promises(frozen, now)
    assert "WanLiteFlowSchedule is gone" in sentence and "nodes/renamed.py" in sentence
    assert broken_promises(frozen, now, {"WanLiteFlowSchedule"}) == []


def test_a_new_name_order_or_type_is_found() -> None:
    frozen = read(NODES_FILE)
    steps, shift, *rest = frozen["WanLiteFlowSchedule"]["widgets"]
    cases = {
        "widget 0 was steps INT and is shift FLOAT": [shift, steps, *rest],
        "widget 1 was shift FLOAT and is flow_shift FLOAT": [steps, ["flow_shift", "FLOAT"], *rest],
        "widget 0 was steps INT and is steps FLOAT": [["steps", "FLOAT"], shift, *rest],
        "and is nothing": [steps],
    }
    for expected, widgets in cases.items():
        (sentence,) = broken_promises(frozen, changed(widgets=widgets))
        assert expected in sentence and "append new ones at the end" in sentence
    (sentence,) = broken_promises(frozen, changed(outputs=[["SIGMAS", "FLOAT"]]))
    assert "output 0 was SIGMAS SIGMAS and is SIGMAS FLOAT" in sentence
    samplers = copy.deepcopy(frozen)
    samplers["WanLiteDDIMSampler"]["links"][0] = ["network", "MODEL"]
    (sentence,) = broken_promises(frozen, samplers)
    assert "WanLiteDDIMSampler: input model is gone" in sentence


def test_additions_at_the_end_are_free() -> None:
    frozen = read(NODES_FILE)
    old = frozen["WanLiteFlowSchedule"]
    grown = {key: [*old[key], ["one_more", "INT"]] for key in ("widgets", "links", "outputs")}
    assert broken_promises(frozen, {**changed(**grown), "WanLiteBrandNew": old}) == []
    (sentence,) = broken_promises(frozen, changed(required=[*old["required"], "one_more"]))
    assert "input one_more is new and required" in sentence and "make it optional" in sentence


def test_a_saved_graph_that_no_longer_fits_is_found() -> None:
    graph, now = read(WORKFLOWS_FOLDER / "student_flow_unipc.json"), read(NODES_FILE)
    assert workflow_problems(graph, now) == []
    now["WanLiteEmptyLatent"] = {"widgets": [["width", "INT"]], "links": [], "outputs": [], "required": []}
    del now["WanLiteVAELoader"]
    found = " ".join(workflow_problems(graph, now))
    assert "WanLiteVAELoader: unknown today." in found and "3 saved values for 1 widgets" in found
    assert "WanLiteEmptyLatent: no input model." in found and "its outputs have changed" in found


def test_nothing_is_replaced_yet(comfy: Client) -> None:
    if not can_replace(comfy):
        skip_on_older(comfy.server.comfyui, "cannot replace nodes yet")
    assert not [old for old in replaced_ids(comfy) if old.startswith("WanLite")]
