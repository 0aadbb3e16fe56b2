"""Measures of likeness from another library, called as this pack means them."""

from __future__ import annotations

import pytest
import torch

from wan_lite.pipeline.similarity import measure_ssim


def test_equal_frames_score_one_and_noise_far_less() -> None:
    frames = torch.rand(2, 3, 3, 16, 24) * 2 - 1
    torch.testing.assert_close(measure_ssim(frames, frames), torch.ones(2, 3))
    assert float(measure_ssim(frames, torch.rand(2, 3, 3, 16, 24) * 2 - 1).max()) < 0.3


def test_each_frame_is_measured_alone_and_clamped() -> None:
    truth = torch.rand(1, 2, 3, 16, 16) * 2 - 1
    frames = truth.clone()
    frames[:, 1] = 0
    found = measure_ssim(frames, truth)
    assert found[0, 0] == pytest.approx(1) and found[0, 1] < 0.9
    torch.testing.assert_close(measure_ssim(10 * truth.sign(), truth.sign()), torch.ones(1, 2))


def test_frames_smaller_than_the_usual_window_are_measured() -> None:
    frames = torch.rand(1, 1, 3, 8, 8) * 2 - 1
    assert float(measure_ssim(frames, frames)) == pytest.approx(1)
