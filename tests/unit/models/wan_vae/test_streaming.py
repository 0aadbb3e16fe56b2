"""Execution in chunks of rows: counting rows, the memory budget, and the same image whatever the chunks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wan_lite.models.wan_vae import WAN21, Tiling, WanVAE, WanVAEConfig, load_wan_vae, memory
from wan_lite.models.wan_vae.cpu import algorithm
from wan_lite.models.wan_vae.feature_map import FeatureMapSize
from wan_lite.models.wan_vae.layers import Decoder, Encoder
from wan_lite.models.wan_vae.memory import choose_chunk_pixels, describe_shortage, run_with_smaller_chunks
from wan_lite.models.wan_vae.streaming.conv import RowCounts

VECTORS = Path(__file__).parents[3] / "vectors" / "wan_vae"


def test_the_rows_of_a_direct_convolution() -> None:
    """The first example in the documentation of ``StreamingConv``: five rows as 0-1, 2-3 and 4."""
    first, second, third = (
        RowCounts.plan(1, 2, False, 1),
        RowCounts.plan(2, 2, False, 1),
        RowCounts.plan(2, 1, True, 1),
    )
    assert (first, second, third) == (RowCounts(1, 1, 0), RowCounts(2, 2, 0), RowCounts(2, 2, 0))


def test_the_rows_of_a_convolution_in_blocks() -> None:
    """The second example: in blocks of four rows nothing is complete before the last chunk."""
    first, second, third = (
        RowCounts.plan(1, 2, False, 4),
        RowCounts.plan(3, 2, False, 4),
        RowCounts.plan(5, 1, True, 4),
    )
    assert (first, second, third) == (RowCounts(1, 0, 0), RowCounts(3, 0, 0), RowCounts(5, 5, 3))


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("chunks", [[1], [7], [1, 1, 1, 1, 1], [3, 0, 5, 2], [2, 9, 1], [4, 4, 0]])
def test_rows_are_counted_once_in_whole_blocks(chunks: list[int], block: int) -> None:
    carried, done = 1, 0
    for i, new in enumerate(chunks):
        last = i == len(chunks) - 1
        counts = RowCounts.plan(carried, new, last, block)
        assert counts.done % block == 0 or last
        assert (counts.done + counts.fill) % block == 0
        carried, done = carried + new - counts.done, done + counts.done
    assert done == sum(chunks)


BAD_TILINGS = [("halves",), ("auto", 100), ("budget",), ("budget", 0), ("budget", float("nan"))]


@pytest.mark.parametrize("arguments", BAD_TILINGS)
def test_bad_tilings_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match=r"tiling mode|budget_mb"):
        Tiling(*arguments)


def test_the_budget_decides_the_chunks() -> None:
    def pixels(tiling: Tiling) -> int:
        return choose_chunk_pixels(tiling, WAN21, (2048, 2048), torch.empty(0))

    assert pixels(Tiling("budget", 1)) < pixels(Tiling("budget", 900)) <= pixels(Tiling("budget", 4000))
    assert pixels(Tiling("budget", 4000)) == pixels(Tiling()) < pixels(Tiling("off")) == 2048 * 2048


def test_a_budget_too_small_still_works_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    vae = load_wan_vae(VECTORS / "wan21_tiny_official.safetensors")
    z = torch.randn(1, 16, 1, 4, 4)
    found = vae.decode(z, tiling=Tiling("budget", 0.001))
    assert "smallest chunks" in caplog.text and "32x32" in caplog.text
    said = describe_shortage(vae.decoder, vae.config, FeatureMapSize(1, 4, 4), Tiling("budget", 0.001), "cpu")
    assert said and said in caplog.text
    assert torch.allclose(found, vae.decode(z, tiling=Tiling("off")), atol=1e-5)


def test_the_least_that_is_named_is_enough() -> None:
    vae = load_wan_vae(VECTORS / "wan21_tiny_official.safetensors", video=True)
    for network, size in ((vae.decoder, FeatureMapSize(1, 64, 96)), (vae.encoder, FeatureMapSize(9, 256, 128))):

        def describe(tiling: Tiling, network: Encoder | Decoder = network, size: FeatureMapSize = size) -> str:
            return describe_shortage(network, vae.config, size, tiling, "cpu")

        least = int(re.findall(r"at least (\d+) MB", describe(Tiling("budget", 1)))[0])
        assert describe(Tiling("budget", least + 1)) == describe(Tiling()) == ""
        assert describe(Tiling("budget", least - 1)) != ""


def test_the_least_is_that_of_the_device_where_it_will_run() -> None:
    """The host moves the weights to the card only after the sentence is said; meta stands in for the card."""
    on_cpu, on_card = WanVAE(WanVAEConfig(dim=8), video=True), WanVAE(WanVAEConfig(dim=8), video=True).to("meta")
    size, tiling = FeatureMapSize(129, 60, 104), Tiling("budget", 1)

    def describe(vae: WanVAE, device_type: str) -> str:
        return describe_shortage(vae.decoder, vae.config, size, tiling, device_type, in_frames=True)

    assert describe(on_cpu, "meta") == describe(on_card, "meta") != describe(on_cpu, "cpu")


def test_memory_that_never_suffices_is_one_sentence() -> None:
    def work(pixels: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    with pytest.raises(MemoryError, match="smallest chunks"):
        run_with_smaller_chunks(work, 1000)

    def broken(pixels: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_with_smaller_chunks(broken, 1000)


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_a_wide_vae_equals_its_differentiable_form(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough for Winograd, at sizes that are not a whole number of blocks, and in several chunks."""
    monkeypatch.setattr(algorithm, "_FILTER_SHARE", 1e6)  # else such small images would do without
    torch.manual_seed(0)
    vae = WanVAE(WanVAEConfig(dim=96, dim_mult=(1, 1), temporal_downsample=(True,), num_res_blocks=1), video=True)
    vae.requires_grad_(False)
    z = torch.randn(1, 16, 1, *size)
    small = Tiling("budget", 0.01)
    reference = vae.decode(z.clone().requires_grad_(), clamp=False).detach()
    assert (vae.decode(z, clamp=False) - reference).abs().max() <= 2e-5
    assert (vae.decode(z, clamp=False, tiling=small) - vae.decode(z, clamp=False)).abs().max() <= 1e-5
    video = torch.randn(1, 16, 3, *size)
    assert (vae.decode(video, tiling=small) - vae.decode(video)).abs().max() <= 1e-5
    assert (vae.decode(video, clamp=False)[:, :, :1] - vae.decode(video[:, :, :1], clamp=False)).abs().max() <= 1e-5


def test_a_wide_vae_stays_close_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough for both Winograds, the polyphase upsampling and the unfused attention; chunks change nothing."""
    monkeypatch.setattr(algorithm, "_FILTER_SHARE", 1e6)
    monkeypatch.setattr(algorithm, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(algorithm, "_MANY_CHANNELS", 192 * 192)
    torch.manual_seed(0)
    vae = WanVAE(WanVAEConfig(dim=96, dim_mult=(1, 2), temporal_downsample=(False,), num_res_blocks=1), video=True)
    vae.requires_grad_(False)
    z, video = torch.randn(1, 16, 1, 3, 5), torch.randn(1, 16, 3, 3, 5)
    exact, exact_video = vae.decode(z, clamp=False), vae.decode(video, clamp=False)
    vae = vae.to(torch.bfloat16)
    found, found_video = vae.decode(z, clamp=False), vae.decode(video, clamp=False)
    assert (found - exact).square().mean().sqrt() <= 1e-2 * exact.abs().max()
    assert (found_video - exact_video).square().mean().sqrt() <= 1e-2 * exact_video.abs().max()
    small = Tiling("budget", 0.01)
    assert (vae.decode(z, clamp=False, tiling=small) - exact).square().mean().sqrt() <= 1e-2 * exact.abs().max()
    monkeypatch.setattr(memory, "choose_chunk_pixels", lambda *arguments: 64)
    assert torch.equal(vae.decode(z, clamp=False), found)
    assert torch.equal(vae.decode(video, clamp=False), found_video)


MEASURE = """
import sys, torch
from pathlib import Path
from wan_lite.models.wan_vae import Tiling, WanVAE, WanVAEConfig
def resident(field):
    return next(int(x.split()[1]) for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
torch.set_num_threads(1)
vae = WanVAE(WanVAEConfig(dim=32)).requires_grad_(False)
tiling = Tiling("budget", float(sys.argv[1]))
vae.decode(torch.zeros(1, 16, 1, 2, 2), tiling=tiling)
vae.encode(torch.zeros(1, 3, 1, 16, 16), tiling=tiling)
for work in (lambda: vae.decode(torch.zeros(1, 16, 1, 64, 64), tiling=tiling),
             lambda: vae.encode(torch.zeros(1, 3, 1, 512, 512), tiling=tiling)):
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    work()
    print((resident("VmHWM") - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux' /proc")
@pytest.mark.parametrize("budget", [60, 120])
def test_the_peak_stays_within_the_budget(budget: int) -> None:
    """Really measured, in a process of its own; the smaller budget has no room for transformed filters."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(budget)], capture_output=True, text=True, check=True)
    peaks = [float(line) for line in done.stdout.split()]
    assert len(peaks) == 2 and max(peaks) <= budget, peaks
