"""Nodes that are ever renamed, and inputs that were removed: workflows saved with them still run."""

import asyncio

from harness import Absent, submodule


def check_nothing_is_renamed_yet() -> None:
    assert submodule("nodes.renamed").RENAMED == ()


def check_a_renamed_node_reaches_the_host() -> None:
    from server import PromptServer

    if not hasattr(PromptServer.instance, "node_replace_manager"):
        raise Absent("this ComfyUI cannot replace nodes yet")
    entry = {
        "new_node_id": "WanLiteNoise",
        "old_node_id": "WanLiteNoiseOfTheTest",
        "old_widget_ids": ["seed"],
        "input_mapping": [{"new_id": "noise_seed", "old_id": "seed"}],
        "output_mapping": [{"new_idx": 0, "old_idx": 0}],
    }
    assert asyncio.run(submodule("nodes.renamed").register_renamed([entry])) == 1
    prompt = {"1": {"class_type": "WanLiteNoiseOfTheTest", "inputs": {"seed": 5}, "_meta": {}}}
    PromptServer.instance.node_replace_manager.apply_replacements(prompt)
    assert prompt["1"]["class_type"] == "WanLiteNoise" and prompt["1"]["inputs"] == {"noise_seed": 5}


def check_removed_inputs_are_taken_out_of_a_graph() -> None:
    renamed = submodule("nodes.renamed")
    solver = {"order": 2, "dynamic_threshold": 0.9, "threshold_max": 1.0, "on_mismatch": "error"}
    other = {"class_type": "KSampler", "inputs": {"threshold_max": 1.0}}
    graph = {"1": {"class_type": "WanLiteSolverFlowDPMpp", "inputs": solver}, "2": other, "3": "nonsense"}
    request = {"prompt": graph, "client_id": "x"}
    assert renamed.drop_removed(request) is request
    assert solver == {"order": 2, "on_mismatch": "error"} and other["inputs"] == {"threshold_max": 1.0}
    for odd in ({}, {"prompt": None}, {"prompt": {"1": {"class_type": "WanLiteSolverDDIM", "inputs": [1]}}}):
        assert renamed.drop_removed(dict(odd)) == odd


def check_the_entry_point_registers_them() -> None:
    from server import PromptServer

    renamed, extension = submodule("nodes.renamed"), submodule("nodes.extension").WanLiteExtension()
    assert len(asyncio.run(extension.get_node_list())) >= 25
    assert PromptServer.instance.on_prompt_handlers.count(renamed.drop_removed) == 1
