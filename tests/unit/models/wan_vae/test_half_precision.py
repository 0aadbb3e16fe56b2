"""Half precision as a card has it: the plain network, with one kernel for the norm, which rounds once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wan_lite.models.wan_vae import WanVAE, WanVAEConfig, layers


@pytest.fixture
def vae(monkeypatch: pytest.MonkeyPatch) -> WanVAE:
    """Random weights that keep activations near unit size, but for a thousandth of them, fifty times as large."""
    monkeypatch.setattr(layers, "has_fused_norm", lambda x: True)
    torch.manual_seed(0)
    vae = WanVAE(WanVAEConfig(dim=8)).requires_grad_(False)
    for name, weight in vae.named_parameters():
        if weight.ndim > 1:
            weight.normal_().div_(weight[0].numel() ** 0.5)
            weight.mul_(torch.where(torch.rand_like(weight) < 1e-3, 50.0, 1.0))
        elif not name.endswith("gamma"):
            weight.zero_()
    return vae


def measure_rms(found: Tensor, truth: Tensor) -> float:
    return float((found.float() - truth).square().mean().sqrt() / truth.square().mean().sqrt())


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 0.01), (torch.bfloat16, 0.06)], ids=str)
def test_outliers_overflow_nothing(vae: WanVAE, dtype: torch.dtype, most: float) -> None:
    latent, pixels = torch.randn(1, 16, 8, 8), torch.rand(1, 3, 64, 64) * 2 - 1
    decoded, encoded = vae.decoder(latent), vae.encoder(pixels)
    vae.to(dtype)
    half = vae.decoder(latent.to(dtype)), vae.encoder(pixels.to(dtype))
    assert all(torch.isfinite(found).all() for found in half)
    assert measure_rms(half[0], decoded) <= most
    assert measure_rms(half[1], encoded) <= most


def test_a_large_activation_is_normalised_in_fp16() -> None:
    """Its square is beyond what fp16 holds."""
    norm = layers.PixelNorm(4).requires_grad_(False).half()
    x = torch.tensor([60000.0, -60000.0, 100.0, 0.0], dtype=torch.float16).view(1, 4, 1, 1)
    found = torch.nn.functional.rms_norm(x.movedim(1, -1), (4,), norm.gamma, 1e-30).movedim(-1, 1)
    for one in (found, norm(x)):
        assert one.flatten().tolist() == pytest.approx([2**0.5, -(2**0.5), 100 / 60000 * 2**0.5, 0], rel=2e-3)
