"""What a card would do, counted on the meta device: kernels, bytes, memory and reads of the VAE at full size."""

from __future__ import annotations

import pytest
import torch

from wan_lite.benchmarks.counting import Counts, count_calls
from wan_lite.models.wan_vae import WAN21, WAN22, WanVAE, WanVAEConfig, memory
from wan_lite.models.wan_vae.feature_map import FeatureMapSize
from wan_lite.models.wan_vae.layers import PixelNorm
from wan_lite.models.wan_vae.memory import estimate_memory, is_out_of_memory

MIB = 2**20


def make_vae(config: WanVAEConfig, video: bool = False) -> WanVAE:
    """A VAE in bfloat16 as a card would hold it, without values."""
    with torch.device("meta"):
        vae = WanVAE(config, video=video).requires_grad_(False).bfloat16()
    return vae.use_channels_last()


def make_latent(config: WanVAEConfig, size: tuple[int, int] = (512, 512), frames: int = 1) -> torch.Tensor:
    height, width = (side // config.spatial_factor for side in size)
    return torch.empty(1, config.z_dim, 1 + (frames - 1) // 4, height, width, device="meta")


def count_decode(config: WanVAEConfig) -> Counts:
    vae, z = make_vae(config), make_latent(config)
    with count_calls() as counts:
        vae.decode(z)
    return counts


def count_encode(config: WanVAEConfig) -> Counts:
    vae, pixels = make_vae(config), torch.empty(1, 3, 1, 512, 512, device="meta")
    with count_calls() as counts:
        vae.encode(pixels)
    return counts


def test_the_plain_decoder_has_few_launches() -> None:
    """ComfyUI 0.33's own, counted in the same way: 269 launches, 7.8 GB, 195 MiB."""
    vae = make_vae(WAN21)
    x = make_latent(WAN21)[:, :, 0].bfloat16().contiguous(memory_format=torch.channels_last)
    with count_calls() as counts, torch.no_grad():
        vae.decoder(x)
    assert counts.kernels <= 120
    assert counts.bytes_beside_convolutions <= 3.6e9
    assert counts.peak <= 195 * MIB
    assert counts.host_reads == 0 and not +counts.mixed


@pytest.mark.parametrize("config, launches, gigabytes, peak", [(WAN21, 130, 3.6, 195), (WAN22, 142, 3.5, 230)])
def test_a_decoded_image_has_few_launches(config: WanVAEConfig, launches: int, gigabytes: float, peak: int) -> None:
    counts = count_decode(config)
    assert counts.kernels <= launches
    assert counts.bytes_beside_convolutions <= gigabytes * 1e9
    assert counts.peak <= peak * MIB
    assert counts.host_reads == 1 and not +counts.mixed


@pytest.mark.parametrize("config, launches, gigabytes, peak", [(WAN21, 115, 2.4, 200), (WAN22, 130, 1.25, 110)])
def test_an_encoded_image_moves_half_of_cores_bytes(
    config: WanVAEConfig, launches: int, gigabytes: float, peak: int
) -> None:
    """ComfyUI 0.33's own, counted in the same way: 4.8 and 2.5 GB, 192 and 163 MiB."""
    counts = count_encode(config)
    assert counts.kernels <= launches
    assert counts.bytes_beside_convolutions <= gigabytes * 1e9
    assert counts.peak <= peak * MIB
    assert not +counts.mixed


def count_video(config: WanVAEConfig, frames: int, size: tuple[int, int]) -> Counts:
    vae, z = make_vae(config, video=True), make_latent(config, size, frames)
    with count_calls() as counts:
        for _ in vae.decode_frames(z):
            pass
    return counts


@pytest.mark.slow
def test_a_longer_video_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latent itself grows: a few KiB for 8 frames of this size."""
    monkeypatch.setattr(memory, "_CARD_SHARE", 1)  # larger chunks are counted sooner
    short, long = (count_video(WAN21, frames, (128, 128)) for frames in (17, 25))
    assert long.peak <= short.peak + 0.2 * MIB
    assert not +long.mixed


@pytest.mark.slow
def test_a_video_at_480p_fits_beside_its_state() -> None:
    """ComfyUI 0.33's own takes 2.6 GiB."""
    assert count_video(WAN21, 17, (480, 832)).peak <= 2.3 * 2**30


@pytest.mark.parametrize(
    "config, frames, size",
    [
        (WAN21, 1, (512, 512)), (WAN22, 1, (512, 512)), (WAN21, 9, (128, 128)),
        (WAN22, 5, (480, 832)), (WAN22, 17, (480, 832)), (WAN22, 33, (480, 832)), (WAN22, 33, (240, 416)),
    ],
)  # fmt: skip
def test_the_estimate_is_what_is_used(config: WanVAEConfig, frames: int, size: tuple[int, int]) -> None:
    """What the host is told, without the result, within 15 %."""
    vae = make_vae(config, video=frames > 1)
    z, pixels = make_latent(config, size, frames), torch.empty(1, 3, frames, *size, device="meta")
    with count_calls() as decoded:
        vae.decode_raw(z, out=torch.empty(config.shape_pixels(z.shape), device="meta"))
    with count_calls() as encoded:
        vae.encode_raw(pixels.bfloat16())
    patches = FeatureMapSize(frames, size[0] // config.patch_size, size[1] // config.patch_size)
    for network, inside, counts in (
        (vae.decoder, FeatureMapSize(*z.shape[2:]), decoded),
        (vae.encoder, patches, encoded),
    ):
        assert estimate_memory(network, config, inside, "cuda") == pytest.approx(counts.peak, rel=0.15)


def test_a_fused_norm_is_the_norm() -> None:
    """On a card one kernel normalises; its formula is the same, a zero vector included."""
    torch.manual_seed(0)
    norm = PixelNorm(8).requires_grad_(False)
    norm.gamma.uniform_(0.5, 1.5)
    x = torch.randn(2, 8, 3, 5)
    x[0, :, 0, 0] = 0
    fused = torch.nn.functional.rms_norm(x.movedim(1, -1), (8,), norm.gamma, 1e-30).movedim(-1, 1)
    assert torch.allclose(fused, norm(x), atol=1e-6)


@pytest.mark.parametrize(
    "sentence",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: out of memory",
        "MPS backend out of memory (MPS allocated: 9.00 GB)",
        "XPU out of memory. Tried to allocate 20.00 MiB",
        "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes.",
    ],
)
def test_memory_that_runs_out_is_known_on_every_device(sentence: str) -> None:
    assert is_out_of_memory(RuntimeError(sentence))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
