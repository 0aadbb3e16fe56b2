"""8 bits and ranges: one rule each, named, the same for every caller."""

from __future__ import annotations

import math

import pytest
import torch

from wan_lite.pipeline.pictures.convert import bytes_to_signed, from_pil, to_pil, to_signed, to_uint8, to_unit


def test_images_truncate_as_the_host_saves_them() -> None:
    image = torch.tensor([[[0.0, 0.999, 1.0]]])
    assert to_uint8(image).tolist() == [[[0, 254, 255]]]
    assert to_uint8(image, "round").tolist() == [[[0, 255, 255]]]


@pytest.mark.parametrize("rounding", ["truncate", "round"])
def test_every_byte_comes_back_and_what_lies_outside_is_clamped(rounding: str) -> None:
    every = torch.arange(256, dtype=torch.uint8)
    # a float32 just below k / 255 truncates to k - 1: half a step up is what a decoder's output is not
    assert torch.equal(to_uint8(every / 255 + 1e-4, rounding), every)
    assert to_uint8(torch.tensor([-0.5, 1.5, -math.inf, math.inf]), rounding).tolist() == [0, 255, 0, 255]


def test_the_two_ranges_are_each_others_inverse() -> None:
    pixels = torch.linspace(-1, 1, 257)
    assert torch.equal(to_signed(to_unit(pixels)), pixels)
    assert (to_unit(pixels).min(), to_unit(pixels).max()) == (0, 1)
    assert bytes_to_signed(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_images_to_tensors_and_back() -> None:
    image = torch.rand(5, 7, 3)
    again = from_pil(to_pil(image, "round"))
    assert again.shape == (5, 7, 3)
    torch.testing.assert_close(again, image, atol=0.5 / 255 + 1e-6, rtol=0)
