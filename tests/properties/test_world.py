"""Properties of world models: what may be cached, what is drawn, and that one frame never sees a later one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from wan_lite.models.world import (
    DynamicsConfig,
    DynamicsModel,
    LatentActionModel,
    LatentActionsConfig,
    TokenizerConfig,
    VideoTokenizer,
    World,
    load_world,
)
from wan_lite.models.world.maskgit import MaskgitConfig, count_tokens_to_unmask, decode
from wan_lite.models.world.networks.attention import attend_over_patches, attend_over_time

CURRENT = Path(__file__).parent.parent / "vectors" / "tinyworlds" / "current"
DRAWS = 10_000
# The 99.99 % quantile of chi-square is about n + 3.72 sqrt(2 n) + 9.5 (Cornish-Fisher); n is degrees of freedom.
SIGMAS = 3.72


@pytest.fixture(scope="module")
def world() -> World:
    return load_world(CURRENT / "checkpoints_current")


@pytest.fixture(scope="module")
def maskgit() -> dict[str, Tensor]:
    return load_file(CURRENT / "maskgit.io.safetensors")


@pytest.mark.parametrize("experts", [0, 3])
@pytest.mark.parametrize("context, new", [(1, 1), (3, 1), (2, 3), (9, 2)])
@pytest.mark.parametrize("given", ["all", "transitions", "none"])
def test_cached_context_gives_the_logits_of_the_whole_window(experts: int, context: int, new: int, given: str) -> None:
    torch.manual_seed(context + 10 * new)
    dynamics = DynamicsModel(DynamicsConfig(32, 8, 24, 4, 48, 3, 3, 4, action_dim=2, num_experts=experts))
    latents = torch.randn(2, context + new, 16, 3)
    count = {"all": context + new, "transitions": context + new - 1, "none": 0}[given]
    actions = torch.randn(2, count, 2) if count else None
    with torch.no_grad():
        cache = dynamics.prefill(latents[:, :context], actions, new)
        positions = torch.randperm(new * 16)[:7].expand(2, -1)
        ours = dynamics.decode_step(latents[:, context:], cache, positions)
        whole = dynamics(latents, actions)[:, context:].flatten(1, 2)
    torch.testing.assert_close(ours, whole.gather(1, positions[..., None].expand(-1, -1, 64)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("heads, width", [(4, 6), (2, 16), (8, 4)])
def test_attentions_equal_their_definition(heads: int, width: int) -> None:
    q, k, v = torch.randn(3, 2, 3, 16, heads * width, dtype=torch.float32).unbind(0)

    def split(x: Tensor, pattern: tuple[int, ...]) -> Tensor:
        return x.unflatten(-1, (heads, width)).permute(pattern)

    def attention(order: tuple[int, ...], mask: Tensor | None) -> Tensor:
        a, b, c = (split(x, order) for x in (q, k, v))
        scores = a @ b.transpose(-2, -1) / width**0.5
        out = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1) @ c
        return out.permute([order.index(axis) for axis in range(5)]).flatten(-2)

    over_patches = attention((0, 1, 3, 2, 4), None)
    over_time = attention((0, 2, 3, 1, 4), torch.ones(3, 3, dtype=torch.bool).tril())
    for grad in (False, True):  # training takes the fused kernels, inference the plain forms
        a, b, c = (x.clone().requires_grad_(grad) for x in (q, k, v))
        torch.testing.assert_close(attend_over_patches(a, b, c, heads), over_patches, rtol=0, atol=1e-5)
        torch.testing.assert_close(attend_over_time(a, b, c, heads), over_time, rtol=0, atol=1e-5)


def test_no_frame_sees_a_later_one(world: World) -> None:
    frames = torch.rand(1, 4, 3, 32, 32) * 2 - 1
    changed = torch.cat([frames[:, :3], -frames[:, 3:]], dim=1)
    assert torch.equal(world.tokenizer.tokenize(frames)[:, :3], world.tokenizer.tokenize(changed)[:, :3])
    torch.testing.assert_close(world.tokenizer(frames)[:, :3], world.tokenizer(changed)[:, :3], rtol=0, atol=1e-6)
    assert torch.equal(world.latent_actions.infer(frames)[:, :2], world.latent_actions.infer(changed)[:, :2])


@pytest.mark.parametrize("total", [1, 16, 64, 256, 512])
@pytest.mark.parametrize("steps", [1, 2, 10, 25, 300])
@pytest.mark.parametrize("k", [0.01, 5.0, 40.0])
def test_steps_unmask_every_token_once(total: int, steps: int, k: float) -> None:
    unmasked = 0
    for step in range(steps):
        count = count_tokens_to_unmask(step, steps, total, unmasked, k)
        assert count >= min(1, total - unmasked)
        unmasked += count
    assert unmasked == total


def test_counts_of_the_original() -> None:
    counts, unmasked = [], 0
    for step in range(10):
        counts.append(count_tokens_to_unmask(step, 10, 256, unmasked, 5.0))
        unmasked += counts[-1]
    assert counts == [16] * 9 + [112]


def _short(maskgit: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """One frame of context and the action after it."""
    return maskgit["sampled_T0.8_H1.context_latents"][:, :1], maskgit["sampled_T0.8_H1.conditioning"][:, :1]


def run(world: World, maskgit: dict[str, Tensor], rows: int, seed: int = 0, **settings: Any) -> Tensor:
    """Decode one context many times, in parts: (rows, p) tokens."""
    context, actions = _short(maskgit)
    parts = []
    with torch.no_grad():
        for start in range(0, rows, 2_000):
            size = min(2_000, rows - start)
            parts.append(
                decode(
                    world.dynamics,
                    context.expand(size, -1, -1, -1),
                    actions.expand(size, -1, -1),
                    MaskgitConfig(**settings),
                    to_latents=world.tokenizer.to_latents,
                    generators=[Generator().manual_seed(seed + start + i) for i in range(size)],
                ).tokens[:, 0]
            )
    return torch.cat(parts)


def probabilities(world: World, maskgit: dict[str, Tensor], temperature: float) -> Tensor:
    """The exact distribution (p, v) that a single pass draws from."""
    context, actions = _short(maskgit)
    latents = torch.cat([context, world.dynamics.mask_token.expand(1, 1, 16, -1)], dim=1)
    return (world.dynamics(latents, actions)[0, -1] / temperature).softmax(-1)


def chi_square(counts: Tensor, expected: Tensor) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom; cells that expect fewer than five are pooled."""
    rare = expected < 5
    pooled = [torch.cat([x[~rare], x[rare].sum(0, keepdim=True)]) for x in (counts.double(), expected.double())]
    keep = pooled[1] > 0
    seen, hoped = pooled[0][keep], pooled[1][keep]
    return float(((seen - hoped).square() / hoped).sum()), len(seen) - 1


def limit(freedom: int) -> float:
    return freedom + SIGMAS * (2 * freedom) ** 0.5 + 9.5


TEMPERATURE = 8.0  # warm enough for these small random weights to leave many tokens possible


@pytest.mark.parametrize("draw", ["masked", "all"])
def test_one_step_samples_from_the_predicted_distribution(world: World, maskgit: dict[str, Tensor], draw: str) -> None:
    tokens = run(world, maskgit, DRAWS, maskgit_steps=1, temperature=TEMPERATURE, draw=draw)
    probs = probabilities(world, maskgit, TEMPERATURE)
    for position in range(16):
        statistic, freedom = chi_square(tokens[:, position].bincount(minlength=64), DRAWS * probs[position])
        assert freedom > 3 and statistic < limit(freedom), (position, statistic, freedom)


def test_drawing_for_masked_positions_only_changes_no_distribution(world: World, maskgit: dict[str, Tensor]) -> None:
    """Two samples of 10,000 whole decodings (three passes each) must look like one: chi-square of homogeneity."""
    settings: dict[str, Any] = {"maskgit_steps": 3, "temperature": TEMPERATURE}
    ours = run(world, maskgit, DRAWS, draw="masked", **settings)
    theirs = run(world, maskgit, DRAWS, seed=1_000_000, draw="all", **settings)
    for position in range(16):
        a, b = (x[:, position].bincount(minlength=64).double() for x in (ours, theirs))
        both = (a + b) > 10
        a, b = (torch.cat([x[both], x[~both].sum(0, keepdim=True)]) for x in (a, b))
        kept = (a + b) > 0
        statistic = float(((a - b).square() / (a + b))[kept].sum())
        freedom = int(kept.sum()) - 1
        assert freedom > 3 and statistic < limit(freedom), (position, statistic, freedom)


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"top_p": 0.0}])
def test_only_the_likeliest_token_left_is_argmax(
    world: World, maskgit: dict[str, Tensor], settings: dict[str, Any]
) -> None:
    sampled = run(world, maskgit, 3, temperature=TEMPERATURE, **settings)
    assert torch.equal(sampled, run(world, maskgit, 3))


def test_top_k_and_top_p_leave_out_the_rest(world: World, maskgit: dict[str, Tensor]) -> None:
    probs = probabilities(world, maskgit, TEMPERATURE)
    tokens = run(world, maskgit, 2_000, maskgit_steps=1, temperature=TEMPERATURE, top_k=3)
    nucleus = run(world, maskgit, 2_000, maskgit_steps=1, temperature=TEMPERATURE, top_p=0.5)
    for position in range(16):
        ordered, order = probs[position].sort(descending=True)
        assert set(tokens[:, position].tolist()) == set(order[:3].tolist())
        needed = int((ordered.cumsum(0) < 0.5).sum()) + 1
        assert set(nucleus[:, position].tolist()) == set(order[:needed].tolist())


def test_networks_can_be_trained() -> None:
    torch.manual_seed(0)
    shared = {"frame_size": 16, "patch_size": 4, "embed_dim": 24, "num_heads": 4, "hidden_dim": 48, "num_blocks": 1}
    frames = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    tokenizer = VideoTokenizer(TokenizerConfig(**shared, latent_dim=3, num_bins=4))
    (tokenizer(frames) - frames).square().mean().backward()
    actions = LatentActionModel(LatentActionsConfig(**shared, n_actions=4))
    following, _ = actions(frames, keep=torch.rand(2, 2, 16) < 0.5)
    (following - frames[:, 1:]).square().mean().backward()
    dynamics = DynamicsModel(DynamicsConfig(**shared, latent_dim=3, num_bins=4, action_dim=2, num_experts=3))
    latents = tokenizer.to_latents(tokenizer.tokenize(frames))
    mask = torch.rand(2, 3, 16) < 0.7
    logits = dynamics(dynamics.mask_latents(latents, mask), torch.ones(2, 2, 2))
    torch.nn.functional.cross_entropy(logits[mask], tokenizer.tokenize(frames)[mask]).backward()
    for network in (tokenizer, actions, dynamics):
        silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        # a key's bias moves all scores of a row alike, so softmax gives it no gradient but rounding
        assert not [name for name in silent if "k_proj.bias" not in name and "temporal_attn.q_proj" not in name], silent
