"""Videos that come and go a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from wan_lite.models.wan_vae import Tiling, WanVAE, WanVAEConfig, load_wan_vae, memory
from wan_lite.models.wan_vae.feature_map import FeatureMapSize
from wan_lite.models.wan_vae.memory import estimate_state, plan_memory
from wan_lite.models.wan_vae.streaming import frames as frames_module
from wan_lite.models.wan_vae.streaming.run import encode_chunk

VECTORS = Path(__file__).parents[3] / "vectors" / "wan_vae"


def make_vae(**options: Any) -> WanVAE:
    torch.manual_seed(0)
    return WanVAE(WanVAEConfig(dim=4, z_dim=4, **options), video=True).requires_grad_(False)


def test_the_smaller_state_is_chosen() -> None:
    """Rows grow with the frames, frames with the rows: they cross near 0.37 frames for each row of the image."""
    vae = make_vae()
    short, long = FeatureMapSize(9, 60, 104), FeatureMapSize(129, 60, 104)
    for size in (short, long):
        state = estimate_state(vae.decoder, size, 4)
        in_frames = plan_memory(vae.decoder, vae.config, size, Tiling()).chunk_frames is not None
        assert in_frames == (state.frames < state.rows) == (size is long)
    assert plan_memory(vae.decoder, vae.config, long, Tiling("off")).chunk_frames is None
    assert plan_memory(vae.decoder, vae.config, FeatureMapSize(1, 60, 104), Tiling()).chunk_frames is None


def test_one_image_is_one_piece() -> None:
    vae = make_vae()
    z = torch.randn(1, 4, 1, 2, 3)
    (found,) = vae.decode_frames(z)
    assert torch.equal(found, vae.decode(z))
    pixels = torch.rand(1, 3, 1, 16, 24)
    (latent,) = vae.encode_frames([pixels])
    assert torch.equal(latent, vae.encode(pixels))


def test_video_weights_are_read_when_a_second_frame_comes() -> None:
    vae = load_wan_vae(VECTORS / "wan21_tiny_official.safetensors")
    list(vae.encode_frames([torch.zeros(1, 3, 1, 16, 16)]))
    assert not vae.has_video_weights
    found = list(vae.encode_frames(torch.zeros(1, 3, 9, 16, 16).split(2, 2)))
    assert vae.has_video_weights and sum(part.shape[2] for part in found) == 3


def test_raw_latents_are_those_of_the_host() -> None:
    vae, z = make_vae(), torch.randn(1, 4, 3, 2, 2)
    whole = vae.decode_raw(z)
    assert torch.allclose(torch.cat(list(vae.decode_frames(z, raw=True)), 2), whole, atol=1e-6)
    video = torch.rand(1, 3, 9, 16, 16)
    assert torch.allclose(torch.cat(list(vae.encode_frames([video], raw=True)), 2), vae.encode_raw(video), atol=1e-6)


def test_an_end_that_does_not_fit_is_refused_or_lengthened() -> None:
    vae, video = make_vae(), torch.rand(1, 3, 7, 16, 16)
    with pytest.raises(ValueError, match="a video of 7 frames was given; its length must be 4n"):
        list(vae.encode_frames(video.split(2, 2)))
    found = torch.cat(list(vae.encode_frames(video.split(2, 2), pad="repeat")), 2)
    assert torch.allclose(found, vae.encode(video, pad="repeat"), atol=1e-6)


def test_bad_pieces_are_one_sentence() -> None:
    vae = make_vae()
    with pytest.raises(ValueError, match="no frames were given"):
        list(vae.encode_frames([]))
    sizes = [torch.zeros(1, 3, 1, 16, 16), torch.zeros(1, 3, 4, 24, 16)]
    with pytest.raises(ValueError, match=r"frames of shape \[1, 3, 24, 16\] follow"):
        list(vae.encode_frames(sizes))
    with pytest.raises(ValueError, match="the latent has 16 channels"):
        vae.decode_frames(torch.zeros(1, 16, 2, 2, 2))


def test_memory_that_runs_out_in_the_middle_changes_no_frame() -> None:
    """What the layers remember is half overwritten then: the video starts again, and nothing is given twice."""
    vae, z = make_vae(), torch.randn(1, 4, 5, 3, 3)
    whole, original, failures = vae.decode(z, clamp=False), frames_module.decode_parts, [9]

    def fail(run: Any, x: torch.Tensor, chunk_pixels: int) -> Iterator[Any]:
        for i, part in enumerate(original(run, x, chunk_pixels)):
            if failures and i == failures[0]:
                failures.pop()
                raise RuntimeError("CUDA error: out of memory")
            yield part

    small = mock.patch.object(memory, "choose_chunk_pixels", lambda *arguments: 128)
    with mock.patch.object(frames_module, "decode_parts", fail), small:
        found = torch.cat(list(vae.decode_frames(z, clamp=False)), 2)
    assert not failures and torch.allclose(found, whole, atol=1e-5)


def test_memory_that_runs_out_while_encoding_is_one_sentence() -> None:
    vae = make_vae()

    def fail(*arguments: Any) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    with mock.patch.object(frames_module, "encode_chunk", fail), pytest.raises(MemoryError, match="smaller budget"):
        list(vae.encode_frames([torch.zeros(1, 3, 5, 16, 16)]))
    assert encode_chunk is not fail


def test_progress_reaches_its_end() -> None:
    vae, seen = make_vae(), list[tuple[int, int]]()
    list(vae.decode_frames(torch.randn(1, 4, 6, 2, 2), on_progress=lambda *rows: seen.append(rows)))
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1]
