"""The long runs of `make soak`: hundreds of graphs through one server, good and bad, whose memory must not grow."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from host.client import Client

pytestmark = pytest.mark.soak

GRAPHS = 400
WARM_UP = 100
MOST_GROWTH = 64 * 2**20
"""Bytes that the process may gain after the warm-up: well below what one leaked student or VAE a graph would take."""


def graph(seed: int, *, sampler: str, student: str, **changes: Any) -> dict[str, Any]:
    """Paint one picture with a tiny student; ``changes`` replace inputs of the sampler."""
    steps = {"seed": seed, "steps": 4, "cfg": 1.0, "shift": 5.0, "denoise": 1.0, "on_mismatch": "ignore"}
    extra = {"eta": 0.0, "clip_x0": 0.0} if sampler == "DDIM" else {}
    links = {"model": ["1", 0], "positive": ["2", 0], "latent_image": ["3", 0]}
    load = {"student_name": student, "precision": "fp32", "contract_preset": "ddim-20 run_inference"}
    size = {"model": ["1", 0], "width": 0, "height": 0, "batch_size": 1}
    return {
        "1": {"class_type": "WanLiteStudentLoader", "inputs": load},
        "2": {"class_type": "WanLiteTextEmbedsLoad", "inputs": {"name": f"{student}.safetensors", "index": -1}},
        "3": {"class_type": "WanLiteEmptyLatent", "inputs": size},
        "4": {"class_type": f"WanLite{sampler}Sampler", "inputs": links | steps | extra | changes},
        "5": {"class_type": "WanLiteVAELoader", "inputs": {"vae_name": "wan21_tiny.safetensors", "precision": "fp32"}},
        "6": {
            "class_type": "WanLiteVAEDecode",
            "inputs": {"samples": ["4", 0], "vae": ["5", 0], "tiling": "off", "budget_mb": 1024},
        },
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
    }


def test_hundreds_of_graphs_through_one_server(comfy: Client) -> None:
    process = psutil.Process(comfy.server.pid)
    after_warm_up = 0
    for i in range(GRAPHS):
        sampler, student = ("DDIM", "FlowUniPC")[i % 2], ("student_16ch", "student_4ch")[i // 2 % 2]
        if i % 10 == 9:
            assert comfy.queue(graph(i, sampler=sampler, student=student, steps=0)).status == "invalid"
            continue
        result = comfy.queue(graph(i, sampler=sampler, student=student))
        assert result.status == "success", (i, result.error, result.node_errors)
        assert len(result.images("7")) == 1
        if i == WARM_UP:
            after_warm_up = process.memory_info().rss
    grown = process.memory_info().rss - after_warm_up
    assert grown < MOST_GROWTH, f"the server grew by {grown / 2**20:.0f} MiB over {GRAPHS - WARM_UP} graphs"


def test_same_graph_gives_the_same_picture_after_all_that(comfy: Client) -> None:
    wanted = graph(7, sampler="FlowUniPC", student="student_16ch")
    first = comfy.queue(wanted).images("7")[0]
    comfy.post_json("/free", {"unload_models": True, "free_memory": True})
    comfy.queue(graph(8, sampler="DDIM", student="student_4ch"))
    assert (comfy.queue(wanted).images("7")[0] == first).all()
