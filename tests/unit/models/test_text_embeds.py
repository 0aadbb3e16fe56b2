"""Rows of zeros in encoded text."""

from __future__ import annotations

import torch

from wan_lite.models.text_embeds import move_padding_last, trim_padding


def test_padding_between_joined_prompts_moves_behind_the_text() -> None:
    a, b, zeros = torch.randn(1, 5, 8), torch.randn(1, 3, 8), torch.zeros(1, 4, 8)
    joined = torch.cat([a, zeros, b, zeros], dim=1)
    assert torch.equal(move_padding_last(joined), torch.cat([a, b, zeros, zeros], dim=1))
    assert torch.equal(move_padding_last(torch.cat([a, zeros], dim=1)), torch.cat([a, zeros], dim=1))


def test_only_the_zeros_behind_the_text_are_cut() -> None:
    rows = torch.cat([torch.randn(2, 8), torch.zeros(1, 8), torch.randn(1, 8), torch.zeros(3, 8)])
    assert torch.equal(trim_padding(rows), rows[:4])
    assert trim_padding(torch.zeros(5, 8)).shape == (1, 8)
