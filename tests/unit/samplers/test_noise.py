"""Noise by item: the same for every batch size, and Wan's own for one picture."""

from __future__ import annotations

import pytest
import torch

from wan_lite.samplers import per_item_noise, step_noise


def test_an_item_does_not_know_its_batch() -> None:
    batch = per_item_noise((4, 16, 1, 8, 8), 7)
    for item in range(4):
        assert torch.equal(batch[item], per_item_noise((1, 16, 1, 8, 8), 7 + item)[0])


def test_one_item_is_what_the_seed_draws_alone() -> None:
    expected = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(42))
    assert torch.equal(per_item_noise((1, 16, 1, 8, 8), 42)[0], expected)


def test_dtype_is_a_cast_of_the_same_numbers() -> None:
    noise = per_item_noise((1, 4, 8), 3)
    assert torch.equal(per_item_noise((1, 4, 8), 3, dtype=torch.bfloat16), noise.bfloat16())


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    per_item_noise((2, 4), 0)
    step_noise(torch.zeros(2, 4), 0, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_step_noise_differs_by_step_and_item_but_not_by_batch() -> None:
    x = torch.zeros(3, 4, 8, 8)
    draws = [step_noise(x, 5, step) for step in range(4)]
    items = [item for draw in draws for item in draw] + list(per_item_noise((3, 4, 8, 8), 5))
    assert all(not torch.equal(a, b) for n, a in enumerate(items) for b in items[:n])
    assert torch.equal(step_noise(x[:1], 6, 2)[0], draws[2][1])
    assert abs(torch.stack(draws).mean()) < 0.1


def test_large_seeds_and_bad_arguments() -> None:
    per_item_noise((2, 3), 2**64 - 1)
    with pytest.raises(ValueError, match="seed is -1"):
        per_item_noise((1, 3), -1)
    with pytest.raises(ValueError, match="shape is empty"):
        per_item_noise((), 0)
