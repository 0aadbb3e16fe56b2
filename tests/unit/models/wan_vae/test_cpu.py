"""The convolution algorithms of CPUs, and which layer takes which."""

from __future__ import annotations

import pytest
import torch

from wan_lite.models.wan_vae import WanVAE, WanVAEConfig
from wan_lite.models.wan_vae.cpu import algorithm as selection
from wan_lite.models.wan_vae.cpu.algorithm import ConvAlgorithm, estimate_workspace, select_algorithm
from wan_lite.models.wan_vae.cpu.upsample_conv import POLYPHASE, UPSAMPLE_25
from wan_lite.models.wan_vae.cpu.winograd import F2_ROWS, F2X2, F4X4, estimate_buffers
from wan_lite.models.wan_vae.cpu.workspace import Workspace
from wan_lite.models.wan_vae.feature_map import FeatureMapSize
from wan_lite.models.wan_vae.layers import CausalConv, Upsample


@pytest.mark.parametrize(
    "algorithm, precision, most",
    [
        (F4X4, torch.float32, 2e-6), (F2X2, torch.float32, 1e-6), (F2_ROWS, torch.float32, 1e-6),
        (F2X2, torch.bfloat16, 1e-2), (F2_ROWS, torch.bfloat16, 1e-2),
    ],
)  # fmt: skip
def test_winograd_is_a_convolution(algorithm: ConvAlgorithm, precision: torch.dtype, most: float) -> None:
    """Several blocks high and wide, two frames, with the kernel of the frame before; the rms error is relative."""
    torch.manual_seed(0)
    window = torch.randn(2, 5, 10, 14).to(precision, memory_format=torch.channels_last)
    now, before, bias = (torch.randn(*shape).to(precision) for shape in ((7, 5, 3, 3), (7, 5, 3, 3), (7,)))
    filters = algorithm.transform_filters([now, before])
    assert [one.numel() for one in filters] == [algorithm.filter_values * 7 * 5] * 2
    found = algorithm.convolve(window, filters, bias, Workspace())
    expected = torch.nn.functional.conv2d(window.double(), now.double(), bias.double())
    expected[1:] += torch.nn.functional.conv2d(window[:1].double(), before.double())
    assert found.dtype == precision and found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).square().mean().sqrt() <= most * expected.std()


@pytest.mark.parametrize(
    "algorithm, precision, most", [(UPSAMPLE_25, torch.float32, 2e-5), (POLYPHASE, torch.bfloat16, 0.1)]
)
def test_fused_upsampling_is_a_repetition_and_a_convolution(
    algorithm: ConvAlgorithm, precision: torch.dtype, most: float
) -> None:
    """Two frames, three by two blocks, with the zeros around the image."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, 4).to(precision)
    weight, bias = torch.randn(7, 5, 3, 3).to(precision), torch.randn(7).to(precision)
    window = torch.nn.functional.pad(x, (1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
    filters = algorithm.transform_filters([weight])
    assert sum(one.numel() for one in filters) == algorithm.filter_values * 7 * 5
    found = algorithm.convolve(window, filters, bias, Workspace())
    repeated = x.double().repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = torch.nn.functional.conv2d(repeated, weight.double(), bias.double(), padding=1)
    assert (found - expected).abs().max() <= most
    assert found.dtype == precision and found.is_contiguous(memory_format=torch.channels_last)


def wide_conv(channels: int, dtype: torch.dtype = torch.float32) -> CausalConv:
    return CausalConv(channels, channels).to(dtype)


LARGE = FeatureMapSize(1, 512, 512)


def test_each_precision_has_its_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 only where the CPU multiplies it, and not where AMX makes direct convolutions faster still."""

    def found(has: dict[str, bool]) -> list[ConvAlgorithm | None]:
        selection._multiplies_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
        return [select_algorithm(wide_conv(n, torch.bfloat16), LARGE) for n in (384, 96, 64)]

    assert found({"avx512_bf16": True}) == [F2X2, F2_ROWS, None]
    assert found({"avx512_bf16": True, "amx_bf16": True}) == [None] * 3
    assert found({}) == [None] * 3
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    selection._multiplies_bfloat16.cache_clear()
    assert not selection._multiplies_bfloat16()
    monkeypatch.undo()
    selection._multiplies_bfloat16.cache_clear()
    assert select_algorithm(wide_conv(96), LARGE) is F4X4
    assert select_algorithm(wide_conv(96, torch.float16), LARGE) is None


def test_an_upsampling_is_fused_where_it_is_large_enough() -> None:
    """25 values for each output channel are fewer than the 4 x 36 that the upsampled map would allow."""
    layer = Upsample(96, 96, temporal=False)
    assert select_algorithm(layer, FeatureMapSize(1, 1, 600)) is UPSAMPLE_25
    assert select_algorithm(layer, FeatureMapSize(1, 1, 599)) is F4X4
    assert select_algorithm(layer, FeatureMapSize(1, 1, 100)) is None
    assert select_algorithm(layer.to(torch.bfloat16), FeatureMapSize(1, 1, 1)) is POLYPHASE
    assert select_algorithm(Upsample(64, 96, temporal=False), LARGE) is None


def test_small_images_and_short_videos_do_without_transformed_filters() -> None:
    """The filters may be four times as large as a layer's input: 9 pixels for each output channel and slice."""
    conv = wide_conv(384)
    assert select_algorithm(conv, FeatureMapSize(1, 64, 64))
    assert not select_algorithm(conv, FeatureMapSize(1, 32, 32))
    assert not select_algorithm(conv, FeatureMapSize(9, 32, 32))
    assert select_algorithm(conv, FeatureMapSize(9, 64, 64))
    vae = WanVAE(WanVAEConfig(dim=96, dim_mult=(1, 1), temporal_downsample=(True,), num_res_blocks=1))
    sizes = (1, 1, 9), (1, 64, 64), (5, 64, 64)
    small, large, video = (estimate_workspace(vae.decoder, FeatureMapSize(*size)) for size in sizes)
    assert small < large < video


@pytest.mark.parametrize("pixels, values", [(600, 25), (599, 36)])
def test_the_workspace_counts_what_each_layer_takes(pixels: int, values: int) -> None:
    """A decoder whose only wide layer is its upsampling, fused or with Winograd on the upsampled map."""
    vae = WanVAE(WanVAEConfig(dim=48, dec_dim=48, dim_mult=(1, 2), temporal_downsample=(False,), num_res_blocks=1))
    vae.decoder.upsamples = torch.nn.ModuleList([Upsample(96, 96, temporal=False)])
    vae.decoder.middle = torch.nn.Sequential()
    found = estimate_workspace(vae.decoder, FeatureMapSize(1, 1, pixels))
    assert found == 96 * 96 * values * 4 + estimate_buffers(96)
