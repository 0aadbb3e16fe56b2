"""The numbers of the official code, for images and videos, from tensors that it made itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wan_lite.models.wan_vae import WanVAE, load_wan_vae

VECTORS = Path(__file__).parents[1] / "vectors" / "wan_vae"
VARIANTS = ("wan21", "wan22")
LAYOUTS = ("official", "diffusers")


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return (a.float() - b.float()).abs().max().item()


@pytest.fixture(scope="module", params=[(v, layout) for v in VARIANTS for layout in LAYOUTS], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[WanVAE, dict[str, torch.Tensor]]:
    variant, layout = request.param
    vae = load_wan_vae(VECTORS / f"{variant}_tiny_{layout}.safetensors", torch.float32)
    return vae, load_file(VECTORS / f"{variant}_tiny_io.safetensors")


def test_image_encodes_as_the_official_code(case: tuple[WanVAE, dict[str, torch.Tensor]]) -> None:
    vae, io = case
    assert largest_difference(vae.encode(io["img.pixels"].float()), io["img.mu_norm"]) <= 2e-5
    assert largest_difference(vae.encode_raw(io["img.pixels"].float()), io["img.mu_raw"]) <= 2e-5


def test_image_decodes_as_the_official_code(case: tuple[WanVAE, dict[str, torch.Tensor]]) -> None:
    vae, io = case
    y = vae.decode(io["img.latent_norm"], clamp=False)
    assert largest_difference(y, io["img.decoded_unclamped"]) <= 2e-5
    assert largest_difference(vae.decode(io["img.latent_norm"]), y.clamp(-1, 1)) == 0


def test_video_encodes_as_the_official_code(case: tuple[WanVAE, dict[str, torch.Tensor]]) -> None:
    vae, io = case
    assert largest_difference(vae.encode(io["clip5.pixels"].float()), io["clip5.mu_norm"]) <= 2e-5
    assert largest_difference(vae.encode_raw(io["clip5.pixels"].float()), io["clip5.mu_raw"]) <= 2e-5


def test_video_decodes_as_the_official_code(case: tuple[WanVAE, dict[str, torch.Tensor]]) -> None:
    vae, io = case
    y = vae.decode(io["clip5.latent_norm"], clamp=False)
    assert largest_difference(y, io["clip5.decoded_unclamped"]) <= 2e-5
