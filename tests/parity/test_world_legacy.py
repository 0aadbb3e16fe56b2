"""Worlds of the legacy format against tensors that its own program made (tests/vectors): ids exact, floats 1e-4."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from wan_lite.models.world import World, load_world, rollout

LEGACY = Path(__file__).parent.parent / "vectors" / "tinyworlds" / "legacy"
CASES = json.loads((LEGACY / "config.json").read_text())


@pytest.fixture(scope="module")
def legacy() -> World:
    return load_world(LEGACY)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_networks(legacy: World) -> None:
    io = load_file(LEGACY / "modules.io.safetensors")
    latents, digits = legacy.tokenizer.encode(io["frames"])
    close(legacy.tokenizer.encoder(io["frames"]), io["encoder_latents"])
    close(latents, io["quantized"])
    assert torch.equal(digits, io["bin_indices"])
    close(legacy.tokenizer.decode(latents[:, :1]), io["recon_frame0"])
    close(legacy.latent_actions.encoder(io["frames"]), io["lam_actions_prequant"])
    actions = legacy.latent_actions.infer(io["frames"])
    assert torch.equal(actions[0], io["lam_action_indices"])
    close(legacy.latent_actions.look_up_vectors(actions)[0], io["lam_actions_quantized"])


@pytest.mark.parametrize("name, noise", [("T1", 0.0), ("T0p8_seed7", -0.02), ("T1p5_seed7", 0.05)])
def test_prediction(legacy: World, name: str, noise: float) -> None:
    io = load_file(LEGACY / "modules.io.safetensors")
    following = legacy.dynamics(io["quantized"] + io["dyn_action"][:, None, None])
    close(following, io["dyn_full_output"])
    drawn = torch.randn(following.shape, generator=Generator().manual_seed(7))
    close((following + noise * drawn)[:, -1], io[f"next_latents_{name}"])


@pytest.mark.parametrize("tag", CASES["rollouts"])
def test_rollout(legacy: World, tag: str) -> None:
    io, case = load_file(LEGACY / "rollout.io.safetensors"), CASES["rollouts"][tag]
    result = rollout(
        legacy,
        io["start_frame"],
        steps=CASES["config"]["steps"],
        actions="diversity",
        seed=case["torch_manual_seed"],
        latent_noise=(case["temperature"] - 1) * 0.1,
        context_window=0,
        draw="all",
        clamp=False,
    )
    assert result.actions[0].tolist() == case["actions"]
    close(result.frames[:, : io[f"{tag}.frames"].shape[1]], io[f"{tag}.frames"])
    close(result.frames[:, -1:], io[f"{tag}.last_frame"])


@pytest.mark.parametrize("case", CASES["real_context_test"], ids=lambda case: f"{case['context_frames']}-frames")
def test_diagnostic_with_real_context(legacy: World, case: dict[str, float]) -> None:
    clip, count = load_file(LEGACY / "modules.io.safetensors")["frames"], int(case["context_frames"])
    action = legacy.latent_actions.infer(clip[:, count - 1 : count + 1])
    result = rollout(legacy, clip[:, :count], steps=1, actions=action, context_window=0, clamp=False)
    error = (result.new_frames[:, 0] - clip[:, count]).square().mean().item()
    assert error == pytest.approx(case["mse_loss"], abs=1e-5)
    # that program measured in [-1, 1]: a peak of 2 instead of 1
    assert 20 * math.log10(2) - 10 * math.log10(error) == pytest.approx(case["psnr"], abs=1e-3)
