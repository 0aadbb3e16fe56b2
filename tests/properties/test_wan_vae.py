"""What must hold for Wan VAEs of any shape: chunks, batches, videos and another implementation agree."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from wan_lite.models.finite import NonFiniteError
from wan_lite.models.wan_vae import Tiling, WanVAE, WanVAEConfig, memory, official_state_dict
from wan_lite.models.wan_vae.key_map import build_diffusers_config, to_diffusers
from wan_lite.models.wan_vae.memory import run_with_smaller_chunks

CONFIGS = st.builds(
    WanVAEConfig,
    dim=st.sampled_from([4, 6, 8]),
    dec_dim=st.sampled_from([4, 8]),
    z_dim=st.sampled_from([4, 16, 48]),
    dim_mult=st.sampled_from([(1, 2, 4, 4), (1, 2, 2, 2)]),
    num_res_blocks=st.sampled_from([1, 2]),
    temporal_downsample=st.sampled_from([(False, True, True), (True, True, False), (True, False, True)]),
    patch_size=st.sampled_from([1, 2]),
)
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))


@contextmanager
def chunks_of(pixels: int) -> Iterator[None]:
    """Execution in chunks of this many pixels."""
    with mock.patch.object(memory, "choose_chunk_pixels", lambda *arguments: pixels):
        yield


@functools.lru_cache(maxsize=64)
def random_vae(config: WanVAEConfig, video: bool = True) -> WanVAE:
    """A VAE with random weights everywhere, those for videos included, and activations of about unit size."""
    torch.manual_seed(0)
    vae = WanVAE(config, video=video).requires_grad_(False)
    for name, p in vae.named_parameters():
        fan_in = p[0].numel() if p.ndim > 1 else 1
        fan_in *= p.shape[1] if name.endswith(".past") else 1
        p.copy_(torch.rand_like(p) + 0.5 if name.endswith("gamma") else torch.randn_like(p) / max(2.0, fan_in**0.5))
    return vae


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return (a.float() - b.float()).abs().max().item()


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> bool:
    """Equal to a tolerance relative to the largest number, at least 1."""
    return largest_difference(a, b) <= tolerance * max(1.0, b.abs().max().item())


@settings(max_examples=15, deadline=None, phases=(Phase.generate,))
@given(CONFIGS, SIZES, st.sampled_from([1, 3, 10, 40, 200, 1000, 10**9]), st.sampled_from([1, 5]))
def test_chunks_of_any_size_give_the_whole(
    config: WanVAEConfig, size: tuple[int, int], count: int, frames: int
) -> None:
    vae = random_vae(config)
    h, w = size
    factor = config.spatial_factor
    frames = 1 if frames == 1 else 1 + config.temporal_factor
    z = torch.randn(1, config.z_dim, 1 + (frames > 1), h, w)
    pixels = torch.rand(1, 3, frames, h * factor, w * factor) * 2 - 1
    off = Tiling("off")
    with chunks_of(count):
        decoded, encoded = vae.decode_raw(z, clamp=False), vae.encode_raw(pixels)
    assert close(decoded, vae.decode_raw(z, tiling=off, clamp=False))
    assert close(encoded, vae.encode_raw(pixels, tiling=off))


@settings(max_examples=12, deadline=None, phases=(Phase.generate,))
@given(CONFIGS, SIZES)
def test_streaming_equals_the_differentiable_network(config: WanVAEConfig, size: tuple[int, int]) -> None:
    vae = random_vae(config)
    z = torch.randn(2, config.z_dim, 1, *size)
    pixels = torch.rand(2, 3, 1, size[0] * config.spatial_factor, size[1] * config.spatial_factor) * 2 - 1
    assert close(vae.decode(z, clamp=False), vae.decode(z.clone().requires_grad_(), clamp=False).detach())
    assert close(vae.encode(pixels), vae.encode(pixels.clone().requires_grad_()).detach())


@settings(max_examples=10, deadline=None, phases=(Phase.generate,))
@given(CONFIGS, SIZES, st.integers(1, 3))
def test_diffusers_agrees(config: WanVAEConfig, size: tuple[int, int], latents: int) -> None:
    """A second, independent implementation with the same weights: images and videos."""
    theirs = diffusers_vae(config)
    vae = random_vae(config)
    frames = 1 + (latents - 1) * config.temporal_factor
    pixels = torch.rand(1, 3, frames, size[0] * config.spatial_factor, size[1] * config.spatial_factor) * 2 - 1
    z = torch.randn(1, config.z_dim, latents, *size)
    if config.temporal_downsample == (False, True, True):  # diffusers' chunks of the encoder fit this one only
        assert close(vae.encode_raw(pixels), theirs.encode(pixels).latent_dist.mean, 2e-5)
    assert close(vae.decode_raw(z), theirs.decode(z).sample, 2e-5)


@functools.lru_cache(maxsize=64)
def diffusers_vae(config: WanVAEConfig) -> torch.nn.Module:
    diffusers = pytest.importorskip("diffusers")
    arguments = {k: v for k, v in build_diffusers_config(config).items() if not k.startswith("_")}
    theirs = diffusers.AutoencoderKLWan(**arguments).eval().requires_grad_(False)
    state = {to_diffusers(k, config): v for k, v in official_state_dict(random_vae(config)).items()}
    theirs.load_state_dict(state, strict=True)
    return theirs


@settings(max_examples=8, deadline=None, phases=(Phase.generate,))
@given(CONFIGS, SIZES)
def test_an_image_is_the_first_frame_of_every_video(config: WanVAEConfig, size: tuple[int, int]) -> None:
    vae = random_vae(config)
    z = torch.randn(1, config.z_dim, 3, *size)
    assert close(vae.decode(z, clamp=False)[:, :, :1], vae.decode(z[:, :, :1], clamp=False))
    frames = 1 + config.temporal_factor
    pixels = torch.rand(1, 3, frames, size[0] * config.spatial_factor, size[1] * config.spatial_factor) * 2 - 1
    assert close(vae.encode(pixels)[:, :, :1], vae.encode(pixels[:, :, :1]))


@pytest.mark.parametrize("patch_size", [1, 2])
def test_a_batch_equals_one_by_one(patch_size: int) -> None:
    config = WanVAEConfig(dim=8, patch_size=patch_size)
    vae = random_vae(config)
    z = torch.randn(3, 16, 1, 3, 2)
    pixels = torch.rand(3, 3, 5, 2 * config.spatial_factor, 3 * config.spatial_factor) * 2 - 1
    assert torch.equal(vae.decode(z), torch.cat([vae.decode(item) for item in z.split(1)]))
    assert torch.equal(vae.encode(pixels), torch.cat([vae.encode(item) for item in pixels.split(1)]))


@pytest.mark.parametrize("patch_size", [1, 2])
def test_an_image_reads_no_weight_that_only_videos_need(patch_size: int) -> None:
    """The proof that an image VAE is two-dimensional: NaN in everything else changes nothing."""
    config = WanVAEConfig(dim=8, patch_size=patch_size)
    vae = random_vae(config)
    spoilt = random_vae.__wrapped__(config)
    for name, p in spoilt.named_parameters():
        if name.endswith(".past") or ".time_conv." in name:
            p.fill_(float("nan"))
    z = torch.randn(1, 16, 1, 2, 3)
    assert torch.equal(vae.decode(z), spoilt.decode(z))
    with pytest.raises(NonFiniteError):
        spoilt.decode(torch.randn(1, 16, 2, 2, 3))


def test_gradients_reach_every_weight_of_an_image() -> None:
    vae = WanVAE(WanVAEConfig(dim=4))
    z = vae.encode(torch.rand(2, 3, 1, 16, 16) * 2 - 1)
    vae.decode(z, clamp=False).square().mean().backward()
    half = vae.config.z_dim  # the log-variance is not used
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())
    assert vae.conv1.bias.grad[half:].abs().sum() == 0


def test_memory_that_runs_out_makes_smaller_chunks() -> None:
    tried = []

    def work(pixels: int) -> int:
        tried.append(pixels)
        if pixels > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pixels

    assert run_with_smaller_chunks(work, 1000) == 250
    assert tried == [1000, 500, 250]


def test_an_interrupt_ends_the_work() -> None:
    vae = random_vae(WanVAEConfig(dim=4))

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop), chunks_of(100):
        vae.decode(torch.randn(1, 16, 1, 4, 4), on_progress=stop)


def test_progress_counts_every_row_once() -> None:
    vae = random_vae(WanVAEConfig(dim=4))
    seen: list[tuple[int, int]] = []
    with chunks_of(100):
        vae.decode(torch.randn(2, 16, 1, 4, 4), on_progress=lambda *x: seen.append(x))
    assert seen[-1] == (64, 64) and [done for done, _ in seen] == sorted({done for done, _ in seen}) and len(seen) > 4
    seen.clear()
    with chunks_of(100):
        vae.encode(torch.rand(2, 3, 1, 32, 32), on_progress=lambda *x: seen.append(x))
    assert seen[-1] == (64, 64) and [done for done, _ in seen] == sorted({done for done, _ in seen}) and len(seen) > 4


@settings(max_examples=12, deadline=None, phases=(Phase.generate,))
@given(CONFIGS, SIZES, st.sampled_from([1, 2, 4]), st.sampled_from([64, 400, 10**9]), st.integers(1, 6))
def test_frames_of_any_chunks_give_the_whole_video(
    config: WanVAEConfig, size: tuple[int, int], latents: int, pixels: int, length: int
) -> None:
    """A video that comes a few frames at a time, in rows of any number, equals the one that comes at once."""
    vae = random_vae(config)
    z = torch.randn(2, config.z_dim, length, *size)
    frames = 1 + (length - 1) * config.temporal_factor
    video = torch.rand(2, 3, frames, size[0] * config.spatial_factor, size[1] * config.spatial_factor) * 2 - 1
    with chunks_of(pixels), mock.patch.object(memory, "_CPU_FRAMES", latents):
        decoded = list(vae.decode_frames(z, clamp=False))
        encoded = list(vae.encode_frames(video.split(3, dim=2)))
    assert decoded[0].shape[2] == encoded[0].shape[2] == 1
    assert all(part.shape[2] <= latents * config.temporal_factor for part in decoded)
    off = Tiling("off")
    assert close(torch.cat(decoded, 2), vae.decode(z, tiling=off, clamp=False))
    assert close(torch.cat(encoded, 2), vae.encode(video, tiling=off))
