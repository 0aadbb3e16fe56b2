"""Solvers, contracts and checks through a real server: posted graphs, errors as a user reads them, images' texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from host.client import Client, Event
from host.graphs import Graph, node, paint, png_texts

PRESETS = {"ddim": "ddim-20 run_inference", "flow-unipc": "flow_unipc-20 shift 5"}
NUMBERS: dict[str, dict[str, Any]] = {"ddim": {"steps": 20, "shift": 1.0}, "flow-unipc": {"steps": 20, "shift": 5.0}}


def composed(student: str, sampler: str, seed: int = 3) -> Graph:
    """The same picture as :func:`paint`, through core's SamplerCustomAdvanced and contract sampling."""
    graph = paint(student, sampler, seed=seed, **NUMBERS[sampler])
    model = {"model": ["1", 0], "contract": ["1", 1], "steps": 0, "shift": 0.0, "denoise": 1.0, "on_mismatch": "error"}
    graph["4"] = node(
        "SamplerCustomAdvanced",
        noise=["12", 0], guider=["11", 0], sampler=["10", 1], sigmas=["10", 2], latent_image=["2", 0],
    )  # fmt: skip
    graph["10"] = node("WanLiteContractSampling", **model)
    graph["11"] = node("BasicGuider", model=["10", 0], conditioning=["3", 0])
    graph["12"] = node("WanLiteNoise", noise_seed=seed, mode="per item (CPU)")
    return graph


@pytest.mark.parametrize("sampler", PRESETS)
@pytest.mark.parametrize("student", ["student_16ch", "student_4ch"])
def test_contract_sampling_paints_what_the_sampler_in_one_node_paints(
    comfy: Client, student: str, sampler: str
) -> None:
    one = comfy.queue(paint(student, sampler, seed=3, **NUMBERS[sampler]))
    parts = comfy.queue(composed(student, sampler))
    assert one.status == parts.status == "success", (one.error, parts.error, parts.node_errors)
    first, second = one.images(8)[0].astype(int), parts.images(8)[0].astype(int)
    assert np.abs(first - second).max() <= 1, "more than a rounding of 1/255"


def test_the_contract_that_was_used_is_in_the_picture(comfy: Client) -> None:
    graph = composed("student_16ch", "flow-unipc")
    graph["10"]["inputs"] |= {"steps": 6, "shift": 3.0}
    result = comfy.queue(graph)
    written = png_texts(result.image_bytes(8)[0])["prompt"]["10"]["_meta"]["wan_lite.sampling_contract"]
    assert (written["solver"], written["prediction"], written["steps"], written["shift"]) == (
        "flow_unipc", "velocity", 6, 3.0,
    )  # fmt: skip


@pytest.mark.parametrize("extra", [None, {"extra_pnginfo": {"workflow": {"nodes": []}}}])
def test_it_is_in_the_pictures_of_other_seeds_too(comfy: Client, extra: dict | None) -> None:
    """Only the noise is new: the host serves the node that read the contract from its cache."""
    graph = composed("student_16ch", "flow-unipc")
    graph["10"]["inputs"] |= {"steps": 5, "shift": 2.0}
    comfy.queue(graph)
    graph["12"]["inputs"]["noise_seed"] += 1000 if extra else 2000
    events: list[Event] = []
    result = comfy.queue(graph, extra, on_event=events.append)
    told = [event for event in events if not isinstance(event, bytes)]
    (cached,) = [event["data"]["nodes"] for event in told if event["type"] == "execution_cached"]
    assert "10" in cached and "4" not in cached
    texts = png_texts(result.image_bytes(8)[0])
    written = texts["prompt"]["10"]["_meta"]["wan_lite.sampling_contract"]
    assert (written["steps"], written["shift"]) == (5, 2.0)


@pytest.mark.parametrize("on_mismatch", ["error", "warn", "ignore"])
def test_a_solver_against_the_contract_is_refused_in_the_page(comfy: Client, on_mismatch: str) -> None:
    graph = composed("student_16ch", "ddim", seed=8)
    graph["14"] = node("WanLiteMakeContract", preset=PRESETS["ddim"])
    graph["10"]["inputs"]["contract"] = ["14", 0]
    widgets = {"order": 2, "kind": "bh2", "skip_corrector": 0}
    graph["13"] = node("WanLiteSolverFlowUniPC", **widgets, on_mismatch=on_mismatch)
    graph["4"]["inputs"]["sampler"] = ["13", 0]
    result = comfy.queue(graph)
    if on_mismatch == "error":
        assert result.status == "error" and result.error_node == "4"
        assert "contract says ddim, but flow_unipc was asked for" in result.said
    else:
        assert result.status == "success", result.error


def test_removed_inputs_are_passed_over_with_one_line(comfy: Client) -> None:
    graph = composed("student_16ch", "flow-unipc", seed=8)
    old = {"order": 2, "dynamic_threshold": 0.9, "threshold_max": 3.0, "on_mismatch": "ignore"}
    graph["13"] = node("WanLiteSolverFlowDPMpp", **old) | {"_meta": {"title": "of an older workflow"}}
    graph["4"]["inputs"]["sampler"] = ["13", 0]
    before = comfy.server.log().count("WanLiteSolverFlowDPMpp no longer has these inputs")
    result = comfy.queue(graph)
    assert result.status == "success", (result.error, result.node_errors)
    assert comfy.server.log().count("WanLiteSolverFlowDPMpp no longer has these inputs") == before + 1


def test_two_shifts_are_refused_with_both_values(comfy: Client) -> None:
    graph = composed("student_16ch", "flow-unipc", seed=9)
    graph["14"] = node("ModelSamplingSD3", model=["1", 0], shift=8.0)
    graph["10"]["inputs"]["model"] = ["14", 0]
    result = comfy.queue(graph)
    assert result.status == "error" and result.error_node == "10"
    assert all(word in result.said for word in ("shift 8", "shift 5", "Remove")), result.said


def test_the_probe_shows_its_evidence(comfy: Client) -> None:
    graph = paint("student_16ch", "ddim", steps=1, shift=1.0)
    del graph["2"], graph["4"], graph["6"], graph["8"], graph["9"]
    names = "\n".join(PRESETS.values())
    inputs = {"model": ["1", 0], "positive": ["3", 0], "vae": ["5", 0], "seed": 0, "candidates": names}
    graph["20"] = node("WanLiteSamplingProbe", **inputs, pictures=1, cell=64)
    graph["21"] = node("PreviewImage", images=["20", 0])
    graph["22"] = node("PreviewImage", images=["20", 1])
    graph["23"] = node("PreviewAny", source=["20", 2])
    result = comfy.queue(graph)
    assert result.status == "success", (result.error, result.node_errors)
    assert result.images(21)[0].std() > 1 and result.images(22)[0].std() > 1
    assert all(name in result.text(23)[0] for name in PRESETS.values())
