"""The harness itself: the pack is there, and nodes run as the host runs them."""

from __future__ import annotations

import torch

from harness import PROCESSOR_SECONDS, base, node, pack, raises, run


def check_pack_is_loaded_under_a_name_made_of_its_path() -> None:
    assert pack().__name__.endswith("custom_nodes/wan-lite")
    assert pack().__version__


def check_core_node_runs_in_inference_mode() -> None:
    (latent,) = run("EmptyLatentImage", width=64, height=32, batch_size=2)
    assert latent["samples"].shape[0] == 2
    assert latent["samples"].is_inference()


def check_v3_node_runs_and_missing_widgets_take_their_defaults() -> None:
    assert run("EmptyHunyuanLatentVideo", width=64, height=64, length=1)[0]["samples"].shape == (1, 16, 1, 8, 8)


def check_unknown_node_is_named() -> None:
    assert "WanLiteNoSuchNode" in raises(LookupError, node, "WanLiteNoSuchNode")


def check_models_folders_are_filled() -> None:
    assert (base() / "models/vae/wan21_tiny.safetensors").is_file()
    assert (base() / "models/wan_students/student_16ch/config.json").is_file()


def check_one_thread() -> None:
    assert torch.get_num_threads() == 1


def check_the_pack_is_a_small_part_of_the_start() -> None:
    """As a share of the start's processor time: a busy machine stretches both alike. Alone it is about 0.2 s."""
    share = PROCESSOR_SECONDS["wan-lite"] / PROCESSOR_SECONDS["the whole start"]
    assert share <= 0.08, PROCESSOR_SECONDS
