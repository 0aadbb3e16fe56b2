"""Wan VAEs: layouts on disk, what is kept in memory, bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wan_lite.cli import main
from wan_lite.models.checkpoint import CheckpointError
from wan_lite.models.metadata import read_metadata
from wan_lite.models.wan_vae.cpu import winograd as wan_vae_winograd
from wan_lite.models.wan_vae.cpu.upsample_conv import convolve_doubled, transform_doubling_kernel
from wan_lite.models.wan_vae.cpu.winograd import COLUMNS, F2, F4, Form, Scratch, form_for
from wan_lite.models.wan_vae.loading import VAEFile
from wan_lite.models.wan_vae.streaming.feature_map import Extent, extra_bytes
from wan_lite.models.wan_vae.tiling import with_smaller_pieces
from wan_lite.models.wan_vae.vae import WAN21, WAN22, Tiling, WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae

VECTORS = Path(__file__).parents[3] / "vectors" / "wan_vae"
VARIANTS = ("wan21", "wan22")


def path_of(variant: str, layout: str = "official") -> Path:
    return VECTORS / f"{variant}_tiny_{layout}.safetensors"


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(
    "layout, suffix",
    [(layout, suffix) for layout in ("official", "diffusers") for suffix in (".safetensors", ".pth")]
    + [("diffusers", "")],  # only this layout has a folder
)
def test_every_layout_is_written_and_read_back(variant: str, layout: str, suffix: str, tmp_path: Path) -> None:
    vae = load_wan_vae(path_of(variant), torch.float16, clips=True)
    written = save_wan_vae(vae, tmp_path / f"vae{suffix}", layout)
    again = load_wan_vae(tmp_path / f"vae{suffix}", torch.float16, clips=True)
    assert again.config == vae.config
    assert all(torch.equal(a, b) for a, b in zip(vae.state_dict().values(), again.state_dict().values(), strict=True))
    if suffix != ".pth":
        original = load_file(path_of(variant, layout))
        found = load_file(written)
        assert found.keys() == original.keys()
        assert all(torch.equal(found[k], original[k]) for k in original)


def test_a_pipeline_folder_is_found_and_its_statistics_are_used(tmp_path: Path) -> None:
    config = WanVAEConfig(dim=4, latents_mean=(0.5,) * 16, latents_std=(2.0,) * 16)
    save_wan_vae(WanVAE(config), tmp_path / "vae", "diffusers")
    assert load_wan_vae(tmp_path).config == config


def test_diffusers_loads_what_we_write(tmp_path: Path, variant: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    vae = load_wan_vae(path_of(variant))
    save_wan_vae(vae, tmp_path / "vae", "diffusers")
    theirs = diffusers.AutoencoderKLWan.from_pretrained(tmp_path / "vae")
    z = torch.randn(1, vae.config.z_dim, 2, 2, 3)
    with torch.no_grad():
        assert torch.allclose(theirs.decode(z).sample, vae.decode_raw(z), atol=2e-5)


def test_a_vae_for_pictures_saves_zeros_where_only_clips_look(tmp_path: Path) -> None:
    vae = WanVAE(WanVAEConfig(dim=4))
    save_wan_vae(vae, tmp_path / "vae.safetensors")
    tensors = load_file(tmp_path / "vae.safetensors")
    assert tensors.keys() == load_file(path_of("wan21")).keys()
    assert tensors["decoder.middle.0.residual.2.weight"][:, :, :2].abs().max() == 0
    now = vae.decoder.middle[0].residual["2"].weight
    assert torch.equal(tensors["decoder.middle.0.residual.2.weight"][:, :, 2], now)
    assert tensors["decoder.upsamples.3.time_conv.weight"].abs().max() == 0
    assert tensors["encoder.middle.1.norm.gamma"].shape == (16, 1, 1)
    assert tensors["encoder.head.0.gamma"].shape == (16, 1, 1, 1)


def test_saving_a_picture_vae_from_a_file_keeps_the_files_clip_weights(tmp_path: Path) -> None:
    vae = load_wan_vae(path_of("wan21"), torch.float16)
    save_wan_vae(vae, tmp_path / "vae.safetensors")
    original = load_file(path_of("wan21"))
    assert all(torch.equal(v, original[k]) for k, v in load_file(tmp_path / "vae.safetensors").items())


def test_pictures_keep_a_third_of_the_weights() -> None:
    with torch.device("meta"):
        picture, clip = WanVAE(WAN21), WanVAE(WAN21, clips=True)
    assert sum(p.numel() for p in picture.parameters()) <= 45e6
    assert round(sum(p.numel() for p in clip.parameters()) / 1e6, 2) == 126.89
    with torch.device("meta"):
        assert round(sum(p.numel() for p in WanVAE(WAN22, clips=True).parameters()) / 1e6, 2) == 704.69


def test_clip_weights_come_when_a_clip_comes(variant: str) -> None:
    vae = load_wan_vae(path_of(variant))
    z = torch.randn(1, vae.config.z_dim, 2, 2, 2)
    vae.decode(z[:, :, :1])
    assert not vae.has_clip_weights
    lazy = vae.decode(z)
    assert vae.has_clip_weights
    assert torch.equal(lazy, load_wan_vae(path_of(variant), clips=True).decode(z))
    with pytest.raises(ValueError, match="clips=True"):
        load_wan_vae(path_of(variant), clips=False).decode(z)


def test_clips_carry_no_gradient() -> None:
    vae = WanVAE(WanVAEConfig(dim=4), clips=True)
    with pytest.raises(ValueError, match="no_grad"):
        vae.decode(torch.randn(1, 16, 2, 2, 2))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precisions_stay_close(variant: str, precision: torch.dtype) -> None:
    io = load_file(VECTORS / f"{variant}_tiny_io.safetensors")
    vae = load_wan_vae(path_of(variant), precision)
    found = vae.decode(io["img.latent_norm"], clamp=False)
    assert found.dtype == torch.float32
    scale = io["img.decoded_unclamped"].abs().max()
    assert (found - io["img.decoded_unclamped"]).square().mean().sqrt() <= 1e-2 * scale
    assert torch.isfinite(vae.encode(io["img.pixels"].to(precision))).all()


@pytest.mark.parametrize("frames, pad", [(2, "repeat"), (4, "reflect"), (7, "reflect"), (8, "repeat"), (5, "repeat")])
def test_a_clip_of_another_length_is_padded_by_choice(frames: int, pad: str) -> None:
    vae = load_wan_vae(path_of("wan21"))
    pixels = torch.rand(1, 3, frames, 16, 16) * 2 - 1
    z = vae.encode(pixels, pad=pad)
    assert z.shape[2] == 1 + -(-(frames - 1) // 4)
    order = list(range(frames)) + ([frames - 1] * 4 if pad == "repeat" else [*range(frames - 2, -1, -1), *range(1, 4)])
    longer = pixels[:, :, order[: 1 + 4 * (z.shape[2] - 1)]]
    assert torch.equal(z, vae.encode(longer))


def test_a_clip_of_another_length_is_refused_otherwise() -> None:
    vae = load_wan_vae(path_of("wan21"))
    with pytest.raises(ValueError, match=r"4 frames.*4n\+1.*cut it to 1, lengthen it to 5"):
        vae.encode(torch.zeros(1, 3, 4, 16, 16))
    with pytest.raises(ValueError, match="pad is 'zeros'"):
        vae.encode(torch.zeros(1, 3, 4, 16, 16), pad="zeros")


BAD_PIXELS = [
    (torch.zeros(1, 3, 1, 20, 16), "16x20.*multiples of 8.*16x16.*16x24"),
    (torch.zeros(1, 4, 1, 16, 16), "4 channels.*alpha"),
    (torch.zeros(1, 3, 16, 16), r"unsqueeze\(2\)"),
    (torch.zeros(3, 16), "reshape"),
    (torch.zeros(1, 3, 1, 16, 16, dtype=torch.uint8), "uint8.*floating-point"),
    (torch.zeros(1, 3, 1, 0, 16), "16x0"),
]


@pytest.mark.parametrize("pixels, sentence", BAD_PIXELS)
def test_bad_pixels_are_one_sentence(pixels: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        WanVAE(WanVAEConfig(dim=4)).encode(pixels)
    assert "\n" not in str(caught.value)


BAD_LATENTS = [
    (torch.zeros(1, 48, 1, 4, 4), "48 channels.*VAE of 16.*A14B uses the Wan 2.1 VAE.*TI2V-5B the Wan 2.2"),
    (torch.zeros(1, 4, 1, 4, 4), "another model"),
    (torch.zeros(1, 16, 4, 4), r"unsqueeze\(2\)"),
    (torch.zeros(1, 16, 1, 0, 4), "no side may be 0"),
    (torch.zeros(1, 16, 1, 4, 4, dtype=torch.int64), "int64"),
]


@pytest.mark.parametrize("latent, sentence", BAD_LATENTS)
def test_bad_latents_are_one_sentence(latent: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        WanVAE(WanVAEConfig(dim=4)).decode(latent)
    assert "\n" not in str(caught.value)


FOREIGN = [
    ({"decoder.up.0.block.0.conv1.weight": torch.zeros(4, 4, 3, 3)}, "Stable Diffusion or Flux"),
    ({"blocks.0.attn.lora_A.weight": torch.zeros(4, 4)}, "a LoRA"),
    ({"patch_embedding.weight": torch.zeros(4, 4, 1, 2, 2)}, "DiT"),
    ({"something": torch.zeros(1)}, "unknown model"),
]


@pytest.mark.parametrize("tensors, sentence", FOREIGN)
def test_a_foreign_file_is_named(tensors: dict[str, torch.Tensor], sentence: str, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=f"other.safetensors.*not a Wan VAE.*{sentence}.*Choose"):
        load_wan_vae(tmp_path / "other.safetensors")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = path_of("wan21").read_bytes()
    files = {"cut.safetensors": whole[: len(whole) // 2], "cut.pth": b"no", "empty.safetensors": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            load_wan_vae(tmp_path / name)
    with pytest.raises(CheckpointError, match="folder without"):
        load_wan_vae(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_wan_vae(tmp_path / "missing.safetensors")


def damaged(tmp_path: Path, name: str, change: torch.Tensor | None) -> Path:
    tensors = load_file(path_of("wan21"))
    if change is None:
        del tensors[name]
    else:
        tensors[name] = change
    save_file(tensors, tmp_path / "damaged.safetensors")
    return tmp_path / "damaged.safetensors"


@pytest.mark.parametrize(
    "name, change, sentence",
    [
        ("decoder.conv1.bias", None, "1 tensors missing.*decoder.conv1.bias"),
        ("decoder.conv1.bias", torch.full((32,), float("nan")), "decoder.conv1.bias holds NaN"),
        ("decoder.conv1.bias", torch.zeros(31), r"decoder.conv1.bias has shape \[31\].*\[32\]"),
        ("decoder.extra.bias", torch.zeros(31), "1 unexpected.*decoder.extra.bias"),
    ],
)
def test_a_damaged_vae_is_named(name: str, change: torch.Tensor | None, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"damaged.safetensors.*{sentence}"):
        load_wan_vae(damaged(tmp_path, name, change))


def test_nan_that_only_clips_read_stops_clips_only(tmp_path: Path) -> None:
    name = "decoder.upsamples.3.time_conv.bias"
    vae = load_wan_vae(damaged(tmp_path, name, torch.full((64,), float("nan"))))
    z = torch.randn(1, 16, 2, 2, 2)
    assert torch.isfinite(vae.decode(z[:, :, :1])).all()
    with pytest.raises(CheckpointError, match=f"{name}.*pictures only"):
        vae.decode(z)


def test_convert_keeps_the_header_and_every_number(tmp_path: Path) -> None:
    source = tmp_path / "source.safetensors"
    save_file(load_file(path_of("wan22")), source, metadata={"modelspec.title": "tiny"})
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    assert main(["convert", str(source), str(there), "--layout", "diffusers"]) == 0
    assert VAEFile(there).layout == "diffusers" and VAEFile(there).dtype == torch.float16
    assert read_metadata(there)["modelspec.title"] == "tiny"
    assert main(["convert", str(there), str(back), "--layout", "official", "--precision", "fp32"]) == 0
    found, original = load_file(back), load_file(source)
    assert found.keys() == original.keys()
    assert all(torch.equal(found[k], original[k].float()) for k in original)


def test_convert_never_overwrites_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source.safetensors"
    save_wan_vae(WanVAE(WanVAEConfig(dim=4)), source)
    assert main(["convert", str(source), str(source), "--layout", "diffusers"]) == 2
    assert "never overwritten" in capsys.readouterr().err
    with safe_open(source, framework="pt") as file:
        assert "conv1.weight" in set(file.keys())
    with pytest.raises(ValueError, match="layout is 'flux'"):
        save_wan_vae(WanVAE(WanVAEConfig(dim=4)), source, "flux")


BAD_TILINGS = [("halves",), ("auto", 100), ("budget",), ("budget", 0), ("budget", float("nan"))]


@pytest.mark.parametrize("arguments", BAD_TILINGS)
def test_bad_tilings_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match=r"tiling mode|budget_mb"):
        Tiling(*arguments)


def test_the_budget_decides_the_pieces() -> None:
    cpu = torch.device("cpu")

    def pixels(tiling: Tiling) -> int:
        return tiling.pixels(WAN21, (2048, 2048), torch.float32, cpu)

    assert pixels(Tiling("budget", 1)) < pixels(Tiling("budget", 900)) <= pixels(Tiling("budget", 4000))
    assert pixels(Tiling("budget", 4000)) == pixels(Tiling()) < pixels(Tiling("off")) == 2048 * 2048


def test_a_budget_too_small_still_works_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    vae = load_wan_vae(path_of("wan21"))
    z = torch.randn(1, 16, 1, 4, 4)
    found = vae.decode(z, tiling=Tiling("budget", 0.001))
    assert "smallest pieces" in caplog.text
    assert torch.allclose(found, vae.decode(z, tiling=Tiling("off")), atol=1e-5)


def test_memory_that_never_suffices_is_one_sentence() -> None:
    def work(pixels: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    with pytest.raises(MemoryError, match="smallest pieces"):
        with_smaller_pieces(work, 1000)

    def broken(pixels: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        with_smaller_pieces(broken, 1000)


def test_bad_configurations_are_refused() -> None:
    for arguments in ({"patch_size": 3}, {"temporal_downsample": (True,)}, {"latents_mean": (0.0,)}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            WanVAEConfig(**arguments)


@pytest.mark.parametrize(
    "form, precision, most",
    [
        (F4, torch.float32, 2e-6), (F2, torch.float32, 1e-6), (COLUMNS, torch.float32, 1e-6),
        (F2, torch.bfloat16, 1e-2), (COLUMNS, torch.bfloat16, 1e-2),
    ],
)  # fmt: skip
def test_minimal_filtering_is_a_convolution(form: Form, precision: torch.dtype, most: float) -> None:
    """Several blocks high and wide, two frames, with the kernel of the frame before; the rms error is relative."""
    torch.manual_seed(0)
    window = torch.randn(2, 5, 10, 14).to(precision, memory_format=torch.channels_last)
    now, before, bias = (torch.randn(*shape).to(precision) for shape in ((7, 5, 3, 3), (7, 5, 3, 3), (7,)))
    kernels = [form.transform_kernel(now), form.transform_kernel(before)]
    assert kernels[0].numel() == form.values * 7 * 5
    found = form.convolve(window, kernels, bias, Scratch())
    expected = torch.nn.functional.conv2d(window.double(), now.double(), bias.double())
    expected[1:] += torch.nn.functional.conv2d(window[:1].double(), before.double())
    assert found.dtype == precision and found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).square().mean().sqrt() <= most * expected.std()


def test_each_precision_has_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 only where the CPU multiplies it, and not where AMX makes direct convolutions faster still."""

    def found(has: dict[str, bool]) -> list[Form | None]:
        wan_vae_winograd._plain_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
        sizes = (384, 96, 64)
        return [form_for(torch.empty(n, n, 3, 3, dtype=torch.bfloat16), 512 * 512) for n in sizes]

    assert found({"avx512_bf16": True}) == [F2, COLUMNS, None]
    assert found({"avx512_bf16": True, "amx_bf16": True}) == [None] * 3
    assert found({}) == [None] * 3
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    wan_vae_winograd._plain_bfloat16.cache_clear()
    assert not wan_vae_winograd._plain_bfloat16()
    monkeypatch.undo()
    wan_vae_winograd._plain_bfloat16.cache_clear()
    assert form_for(torch.empty(96, 96, 3, 3), 512 * 512) is F4
    assert form_for(torch.empty(96, 96, 3, 3, dtype=torch.float16), 512 * 512) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_a_wide_vae_equals_its_differentiable_form(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough that minimal filtering runs, at sizes that are no whole number of blocks and in several pieces."""
    monkeypatch.setattr(wan_vae_winograd, "_KERNEL_SHARE", 1e6)  # else such small pictures would do without
    torch.manual_seed(0)
    vae = WanVAE(WanVAEConfig(dim=96, dim_mult=(1, 1), temporal_downsample=(True,), num_res_blocks=1), clips=True)
    vae.requires_grad_(False)
    z = torch.randn(1, 16, 1, *size)
    small = Tiling("budget", 0.01)
    reference = vae.decode(z.clone().requires_grad_(), clamp=False).detach()
    assert (vae.decode(z, clamp=False) - reference).abs().max() <= 2e-5
    assert (vae.decode(z, clamp=False, tiling=small) - vae.decode(z, clamp=False)).abs().max() <= 1e-5
    clip = torch.randn(1, 16, 3, *size)
    assert (vae.decode(clip, tiling=small) - vae.decode(clip)).abs().max() <= 1e-5
    assert (vae.decode(clip, clamp=False)[:, :, :1] - vae.decode(clip[:, :, :1], clamp=False)).abs().max() <= 1e-5


def test_small_pictures_and_short_clips_do_without_transformed_kernels() -> None:
    """The kernels may be four times as large as a layer's input: 9 pixels for each output channel and slice."""
    weight = torch.empty(384, 384, 3, 3)
    assert form_for(weight, 64 * 64)
    assert not form_for(weight, 32 * 32)
    assert not form_for(weight, 9 * 32 * 32, slices=3)
    assert form_for(weight, 9 * 64 * 64, slices=3)
    vae = WanVAE(WanVAEConfig(dim=96, dim_mult=(1, 1), temporal_downsample=(True,), num_res_blocks=1))
    small, large, clip = (extra_bytes(vae.decoder, Extent(*sizes)) for sizes in ((1, 9), (1, 4096), (5, 4096)))
    assert small < large < clip


@pytest.mark.parametrize("precision, most", [(torch.float32, 2e-5), (torch.bfloat16, 0.1)])
def test_doubling_is_a_repetition_and_a_convolution(precision: torch.dtype, most: float) -> None:
    """Two frames, three by two blocks, with the zeros around the picture."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, 4).to(precision)
    weight, bias = torch.randn(7, 5, 3, 3).to(precision), torch.randn(7).to(precision)
    window = torch.nn.functional.pad(x, (1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
    found = convolve_doubled(window, transform_doubling_kernel(weight), bias, Scratch())
    repeated = x.double().repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = torch.nn.functional.conv2d(repeated, weight.double(), bias.double(), padding=1)
    assert (found - expected).abs().max() <= most
    assert found.dtype == precision and found.is_contiguous(memory_format=torch.channels_last)


def test_a_wide_vae_stays_close_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough for both filterings, the doubling by halves and the attention by products; pieces change nothing."""
    monkeypatch.setattr(wan_vae_winograd, "_KERNEL_SHARE", 1e6)
    monkeypatch.setattr(wan_vae_winograd, "_plain_bfloat16", lambda: True)
    monkeypatch.setattr(wan_vae_winograd, "_MANY_CHANNELS", 192 * 192)
    torch.manual_seed(0)
    vae = WanVAE(WanVAEConfig(dim=96, dim_mult=(1, 2), temporal_downsample=(False,), num_res_blocks=1), clips=True)
    vae.requires_grad_(False)
    z, clip = torch.randn(1, 16, 1, 3, 5), torch.randn(1, 16, 3, 3, 5)
    exact, exact_clip = vae.decode(z, clamp=False), vae.decode(clip, clamp=False)
    vae = vae.to(torch.bfloat16)
    found, found_clip = vae.decode(z, clamp=False), vae.decode(clip, clamp=False)
    assert (found - exact).square().mean().sqrt() <= 1e-2 * exact.abs().max()
    assert (found_clip - exact_clip).square().mean().sqrt() <= 1e-2 * exact_clip.abs().max()
    small = Tiling("budget", 0.01)
    assert (vae.decode(z, clamp=False, tiling=small) - exact).square().mean().sqrt() <= 1e-2 * exact.abs().max()
    monkeypatch.setattr(Tiling, "allows", lambda self, extra: True)
    assert torch.equal(vae.decode(z, clamp=False, tiling=small), found)
    assert torch.equal(vae.decode(clip, clamp=False, tiling=small), found_clip)


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
    """Really measured, in a process of its own; the smaller budget has no room for transformed kernels."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(budget)], capture_output=True, text=True, check=True)
    peaks = [float(line) for line in done.stdout.split()]
    assert len(peaks) == 2 and max(peaks) <= budget, peaks
