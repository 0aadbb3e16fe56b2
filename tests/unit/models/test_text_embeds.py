"""Rows of zeros in encoded text."""

from __future__ import annotations

import pytest
import torch

from wan_lite.models.text_embeds import find_prompt, move_padding_last, trim_padding


def test_padding_between_joined_prompts_moves_behind_the_text() -> None:
    a, b, zeros = torch.randn(1, 5, 8), torch.randn(1, 3, 8), torch.zeros(1, 4, 8)
    joined = torch.cat([a, zeros, b, zeros], dim=1)
    assert torch.equal(move_padding_last(joined), torch.cat([a, b, zeros, zeros], dim=1))
    assert torch.equal(move_padding_last(torch.cat([a, zeros], dim=1)), torch.cat([a, zeros], dim=1))


def test_only_the_zeros_behind_the_text_are_cut() -> None:
    rows = torch.cat([torch.randn(2, 8), torch.zeros(1, 8), torch.randn(1, 8), torch.zeros(3, 8)])
    assert torch.equal(trim_padding(rows), rows[:4])
    assert trim_padding(torch.zeros(5, 8)).shape == (1, 8)


def test_a_prompt_is_found_by_caption_number_or_words_of_its_own() -> None:
    captions = ["red dots", "red dots, large", "blue stripes", "3"]
    found = [find_prompt(captions, name, "f") for name in ("red dots", "1", "BLUE", "3", "large")]
    assert found == [0, 1, 2, 3, 1]


@pytest.mark.parametrize(
    ("name", "said"), [("dots", "2 prompts with 'dots': 'red dots', 'red dots, large'"), ("7", "no prompt '7'")]
)
def test_words_of_none_or_several_prompts_are_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        find_prompt(["red dots", "red dots, large"], name, "f.safetensors")
    assert "f.safetensors" in str(refusal.value) and "0 to 1" in str(refusal.value)
