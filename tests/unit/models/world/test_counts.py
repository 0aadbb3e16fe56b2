"""What a card would do for a frame of a world of the published size, counted on the meta device."""

from __future__ import annotations

import dataclasses
from unittest import mock

import pytest
import torch

from wan_lite.benchmarks.counting import Counts, count_calls
from wan_lite.benchmarks.worlds import make_world
from wan_lite.models.world import DynamicsModel, RolloutConfig, World, WorldSession, rollout

MIB = 2**20


@pytest.fixture(scope="module")
def world() -> World:
    return make_world().to("meta")


def play(world: World, **settings: object) -> Counts:
    """Count the second step of a session: the first one makes the tables that are kept."""
    session = WorldSession(world, torch.zeros(2, 3, 64, 64), RolloutConfig(**settings))  # type: ignore[arg-type]
    with count_calls():
        session.step(0)
    with count_calls() as counts:
        session.step(1)
    return counts


def test_a_frame_has_few_launches_and_is_waited_for_once(world: World) -> None:
    """It was 4,400 launches with a read for each pass and a table copied for each call of a transformer."""
    counts = play(world)
    assert counts.kernels <= 2750
    assert counts.bytes_beside_convolutions <= 0.36e9
    assert counts.peak <= 4.5 * MIB
    assert counts.host_reads == 0 and counts.copies_to_host == 1
    assert set(counts.mixed) == {"_to_copy"}  # the action on its way to the card


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0},
        {"temperature": 1.0, "draw": "all"},
        {"temperature": 0.7, "top_k": 8, "top_p": 0.9},
        {"action_guidance": 2.0},
        {"feedback": "tokens"},
        {"context_window": 1},
        {"context_actions": "inferred"},
    ],
    ids=str,
)
def test_no_setting_makes_the_host_read(world: World, settings: dict[str, object]) -> None:
    config = RolloutConfig(maskgit_steps=2, **settings)  # type: ignore[arg-type]
    session = WorldSession(world, torch.zeros(2, 3, 64, 64), config)
    with count_calls() as counts:
        session.step(0)
    assert counts.host_reads == 0 and counts.copies_to_host == 1


def test_experts_are_mixed_without_counting_them() -> None:
    """As the CPU mixes them, each expert on its own patches only."""
    torch.manual_seed(0)
    sizes = dataclasses.replace(make_world().dynamics.config, num_experts=3, top_k_experts=2, num_blocks=1)
    mixture = DynamicsModel(sizes).double().requires_grad_(False).transformer.blocks[0].ffn
    flat = torch.randn(6, sizes.embed_dim, dtype=torch.float64)
    best, chosen = mixture.router(flat).topk(2, dim=-1)
    weights = best.softmax(-1)
    expected = mixture._mix_chosen(flat, chosen, weights)
    assert torch.allclose(mixture._mix_all(flat, chosen, weights), expected, rtol=0, atol=1e-14)
    rest = next(index for index in range(3) if index not in chosen[0])
    with mock.patch.object(mixture.experts[rest], "forward", lambda x: torch.full_like(x, torch.inf)):
        assert mixture._mix_all(flat, chosen, weights)[0].isfinite().all()
    mixture.to("meta")
    with count_calls() as counts:
        mixture(torch.empty(1, 1, 6, sizes.embed_dim, dtype=torch.float64, device="meta"), None)
    assert counts.host_reads == 0


def test_a_rollout_waits_once_for_each_frame(world: World) -> None:
    """And once at the end, for its tokens and for the window where it stopped."""
    reads = []
    for steps in (1, 3):
        with count_calls() as counts:
            rollout(world, torch.zeros(1, 2, 3, 64, 64), steps=steps, actions=[0, 1, 2], maskgit_steps=1)
        assert counts.host_reads == 0
        reads.append(counts.copies_to_host)
    assert reads == [1 + 2, 3 + 2]


def test_a_table_that_was_made_without_gradients_serves_training() -> None:
    trained = make_world().dynamics
    latents = torch.zeros(1, 3, trained.config.patches, trained.config.latent_dim)
    with torch.inference_mode():
        trained(latents)
    trained.requires_grad_(True)(latents).sum().backward()
    assert trained.latent_embed.weight.grad is not None
