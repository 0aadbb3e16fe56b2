"""Node replacement: the hook that saved workflows will need when a node is ever renamed."""

import asyncio

from harness import submodule


def check_nothing_is_renamed_yet() -> None:
    assert submodule("nodes.renamed").RENAMED == ()


def check_a_renamed_node_reaches_the_host() -> None:
    from server import PromptServer

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


def check_the_entry_point_registers_them() -> None:
    extension = submodule("nodes.extension").WanLiteExtension()
    assert asyncio.run(extension.on_load()) is None
