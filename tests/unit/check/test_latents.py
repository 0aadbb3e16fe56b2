"""Latents of other models: what a sampler repairs of an empty one, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from wan_lite.check import check_graph
from wan_lite.check.report import Finding
from workflow_graphs import FASTWAN, Graph, lightx2v, node, set_values

VIDEO = {"width": 832, "height": 480, "length": 81, "batch_size": 1}
IMAGE = {"width": 1024, "height": 768, "batch_size": 1}


def with_latent(kind: str, **values: Any) -> Graph:
    graph = lightx2v()
    graph["6"] = node(kind, **values)
    return graph


def mismatches(graph: Graph) -> list[Finding]:
    return [finding for finding in check_graph(graph).findings if finding.id == "latent-mismatch"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("EmptyHunyuanLatentVideo", VIDEO),
        ("WanImageToVideo", VIDEO),
        ("EmptyARVideoLatent", VIDEO),
        ("EmptyHunyuanVideo15Latent", VIDEO),  # tells its cell, and the sampler makes the sides fit
        ("EmptySD3LatentImage", IMAGE),
        ("EmptyLatentImage", IMAGE),
        ("EmptyLTXVLatentVideo", {**VIDEO, "length": 1}),
        ("NoSuchLatent", VIDEO),
    ],
)
def test_what_fits_or_is_repaired(kind: str, values: dict[str, Any]) -> None:
    assert mismatches(with_latent(kind, **values)) == []


@pytest.mark.parametrize(
    ("kind", "values", "size"),
    [
        ("Wan22ImageToVideoLatent", VIDEO, "0.5 times the size, 416 x 240"),
        ("EmptyFlux2LatentImage", IMAGE, "0.5 times the size, 512 x 384"),
        ("EmptyHunyuanImageLatent", IMAGE, "0.25 times the size, 256 x 192"),
    ],
)
def test_sides_that_nothing_repairs(kind: str, values: dict[str, Any], size: str) -> None:
    [finding] = mismatches(with_latent(kind, **values))
    assert (finding.severity, finding.node) == ("wrong", "6")
    assert size in finding.message
    assert "EmptyHunyuanLatentVideo" in finding.remedy and not finding.is_mendable


def test_a_latent_of_wan21_for_the_5b_model() -> None:
    graph = set_values(with_latent("WanImageToVideo", **VIDEO), n1_unet_name=FASTWAN, n2_strength_model=0)
    [finding] = mismatches(graph)
    assert "2 times the size, 1664 x 960" in finding.message and "Wan22ImageToVideoLatent" in finding.remedy
    graph["6"] = node("EmptyHunyuanLatentVideo", **VIDEO)
    assert mismatches(graph) == []


def test_frames_of_another_vae() -> None:
    [finding] = mismatches(with_latent("EmptyLTXVLatentVideo", **{**VIDEO, "length": 97}))
    assert finding.severity == "doubtful"
    assert "97 frames" in finding.message and "49" in finding.message


def test_what_another_model_has_sampled() -> None:
    graph = lightx2v()
    graph["31"] = node("UNETLoader", unet_name=FASTWAN, weight_dtype="default")
    graph["37"] = {**graph["7"], "inputs": {**graph["7"]["inputs"], "model": ["31", 0], "latent_image": ["7", 0]}}
    [finding] = mismatches(graph)
    assert (finding.severity, finding.node) == ("wrong", "37")
    assert "16 channels" in finding.message and "takes 48" in finding.message
    graph["31"]["inputs"]["unet_name"] = "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors"
    assert mismatches(graph) == []


@pytest.mark.parametrize("loader", ["VAELoader", "WanLiteVAELoader"])
@pytest.mark.parametrize("decoder", ["VAEDecode", "WanLiteVAEDecode"])
def test_vaes_are_told_apart_by_either_loader(loader: str, decoder: str) -> None:
    severities = {
        "wan_2.1_vae.safetensors": [], "lightvaew2_1.safetensors": [], "qwen_image_vae.safetensors": ["doubtful"],
        "wan2.2_vae.safetensors": ["wrong"], "mg_lightvae_v2.safetensors": ["wrong"],
    }  # fmt: skip
    for file, expected in severities.items():
        graph = lightx2v()
        graph["8"] = node(loader, vae_name=file)
        graph["9"] = node(decoder, samples=["7", 0], vae=["8", 0])
        assert [f.severity for f in check_graph(graph).findings if f.id == "vae-mismatch"] == expected, file
