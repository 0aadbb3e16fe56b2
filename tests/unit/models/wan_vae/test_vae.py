"""Wan VAEs: images and videos, what is kept in memory, bad input."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wan_lite.models.finite import NonFiniteError
from wan_lite.models.wan_vae import WAN21, WAN22, Tiling, WanVAE, WanVAEConfig, load_wan_vae
from wan_lite.models.wan_vae.streaming import conv

VECTORS = Path(__file__).parents[3] / "vectors" / "wan_vae"
VARIANTS = ("wan21", "wan22")


def path_of(variant: str, layout: str = "official") -> Path:
    return VECTORS / f"{variant}_tiny_{layout}.safetensors"


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


def test_images_keep_a_third_of_the_weights() -> None:
    with torch.device("meta"):
        image, video = WanVAE(WAN21), WanVAE(WAN21, video=True)
    assert sum(p.numel() for p in image.parameters()) <= 45e6
    assert round(sum(p.numel() for p in video.parameters()) / 1e6, 2) == 126.89
    with torch.device("meta"):
        assert round(sum(p.numel() for p in WanVAE(WAN22, video=True).parameters()) / 1e6, 2) == 704.69


def test_video_weights_come_when_a_video_comes(variant: str) -> None:
    vae = load_wan_vae(path_of(variant))
    z = torch.randn(1, vae.config.z_dim, 2, 2, 2)
    vae.decode(z[:, :, :1])
    assert not vae.has_video_weights
    lazy = vae.decode(z)
    assert vae.has_video_weights
    assert torch.equal(lazy, load_wan_vae(path_of(variant), video=True).decode(z))
    with pytest.raises(ValueError, match="video=True"):
        load_wan_vae(path_of(variant), video=False).decode(z)


def test_videos_carry_no_gradient() -> None:
    vae = WanVAE(WanVAEConfig(dim=4), video=True)
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
def test_a_video_of_another_length_is_padded_by_choice(frames: int, pad: str) -> None:
    vae = load_wan_vae(path_of("wan21"))
    pixels = torch.rand(1, 3, frames, 16, 16) * 2 - 1
    z = vae.encode(pixels, pad=pad)
    assert z.shape[2] == 1 + -(-(frames - 1) // 4)
    order = list(range(frames)) + ([frames - 1] * 4 if pad == "repeat" else [*range(frames - 2, -1, -1), *range(1, 4)])
    longer = pixels[:, :, order[: 1 + 4 * (z.shape[2] - 1)]]
    assert torch.equal(z, vae.encode(longer))


def test_a_video_of_another_length_is_refused_otherwise() -> None:
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
    (torch.zeros(1, 3, 1, 0, 16), "no side may be 0"),
    (torch.zeros(0, 3, 1, 16, 16), "no side may be 0"),
    (torch.zeros(1, 3, 0, 16, 16), "no side may be 0"),
    (torch.zeros(1, 3, 1, 4, 70), "multiples of 8 for wan2.1: pad to 72x8"),
    (torch.full((1, 3, 1, 16, 16), torch.nan), "pixels holds NaN"),
    (torch.tensor([0.0, torch.inf]).repeat(384).view(1, 3, 1, 16, 16), "pixels holds infinite values"),
    (torch.full((1, 3, 1, 16, 16), 255.0), r"values from 255 to 255; they must lie in \[-1, 1\].*image \* 2 - 1"),
    (torch.full((1, 3, 1, 16, 16), -1.6), "values from -1.6"),
    (torch.full((1, 3, 1, 16, 16), torch.nan, dtype=torch.float16), "pixels holds NaN"),
]


@pytest.mark.parametrize("pixels, sentence", BAD_PIXELS)
def test_bad_pixels_are_one_sentence(pixels: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        WanVAE(WanVAEConfig(dim=4)).encode(pixels)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 400


def test_what_bicubic_resampling_overshoots_is_encoded() -> None:
    edge = torch.tensor([-1.0, 1.0]).repeat_interleave(4).expand(1, 3, 8, 8)
    pixels = torch.nn.functional.interpolate(edge, scale_factor=2, mode="bicubic").unsqueeze(2)
    assert pixels.max() > 1.05
    assert torch.isfinite(WanVAE(WanVAEConfig(dim=4)).encode(pixels)).all()


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


def tiny_vae(precision: torch.dtype = torch.float32) -> WanVAE:
    return load_wan_vae(path_of("wan21"), precision)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("tiling", [None, Tiling("off")])
def test_a_latent_that_is_not_finite_is_named(value: float, tiling: Tiling | None) -> None:
    z = torch.zeros(2, 16, 1, 4, 4)
    z[1, 3, 0, 2, 2] = value
    with pytest.raises(NonFiniteError, match=r"decoded image holds \d+ of 6144 values .* so does the latent"):
        tiny_vae().decode(z, tiling=tiling)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_latent_that_overflows_is_named_rather_than_flat(precision: torch.dtype) -> None:
    z = torch.randn(1, 16, 1, 4, 4)
    assert tiny_vae(precision).decode(1e3 * z).std() > 0.1
    with pytest.raises(NonFiniteError, match=r"the latent has values up to [\d.]+e\+2\d"):
        tiny_vae(precision).decode(1e22 * z)


@pytest.mark.parametrize("name", ["decoder.conv1", "decoder.upsamples.0.residual.6", "decoder.head.2"])
@pytest.mark.parametrize("frames", [1, 2])
def test_weights_that_overflow_are_named(name: str, frames: int) -> None:
    vae = tiny_vae()
    vae.get_submodule(name).weight.data.fill_(1e38)
    with pytest.raises(NonFiniteError, match=f"largest weight is {name}.weight with 1e\\+38 in float32") as caught:
        vae.decode(torch.randn(1, 16, frames, 2, 2))
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 400


def test_an_encoder_that_overflows_is_an_error() -> None:
    vae = tiny_vae()
    vae.encoder.conv1.weight.data.fill_(1e38)
    with pytest.raises(NonFiniteError, match="the encoded latent holds 128 of 128 values"):
        vae.encode(torch.rand(1, 3, 1, 16, 16))


def test_only_one_value_of_the_image_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished image costs one read from its device."""
    vae, read = tiny_vae(), []
    original = torch.Tensor.__bool__
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: read.append(self) or original(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("a value was read"))
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: pytest.fail("values were read"))
    vae.decode(torch.randn(2, 16, 1, 4, 4), tiling=Tiling("off"))
    assert len(read) == 1


BAD_CONFIGURATIONS = [
    ({"patch_size": 3}, "patch_size is 3"),
    ({"temporal_downsample": (True,)}, "temporal_downsample has 1 values"),
    ({"dim_mult": (1,) * 9, "temporal_downsample": (True,) * 8}, "dim_mult has 9 values"),
    ({"z_dim": 10**8}, "z_dim is 100000000"),
    ({"z_dim": 0}, "z_dim is 0"),
    ({"num_res_blocks": 0}, "num_res_blocks is 0"),
    ({"dim": 10**6}, "a stage has 1000000 channels"),
    ({"dim_mult": (1, 2, 0, 4)}, "a stage has 0 channels"),
    ({"dec_dim": 3, "dim_mult": (1, 1, 1, 1)}, r"\[3, 3, 3, 3, 3\] channels"),
    ({"dim": 8, "patch_size": 2, "dim_mult": (1, 9, 9, 9)}, "no layers"),
    ({"latents_mean": (0.0,)}, "latents_mean has 1 values"),
    ({"latents_mean": (float("nan"),) * 16}, "latents_mean holds nan"),
    ({"latents_std": (1.0,) * 15 + (0.0,)}, "latents_std holds 0"),
    ({"latents_std": (float("inf"),) * 16}, "latents_std holds inf"),
]


@pytest.mark.parametrize("arguments, sentence", BAD_CONFIGURATIONS)
def test_bad_configurations_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        WanVAEConfig(**arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 400


def test_decode_reaches_the_first_convolution_through_six_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside those that only describe the network or choose the convolution's algorithm; the input is checked once."""
    aside = {"config", "layers", "feature_map", "cpu.algorithm", "cpu.workspace", "streaming.history"}
    entered: list[str] = []

    class FirstConvolution(Exception):
        pass

    def convolve(*arguments: object, **options: object) -> None:
        raise FirstConvolution

    def note(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("wan_lite.models.wan_vae."):
            entered.append(f"{module.removeprefix('wan_lite.models.wan_vae.')}:{frame.f_code.co_name}")

    decoder = WanVAE(WanVAEConfig(dim=4)).requires_grad_(False)
    monkeypatch.setattr(conv.F, "conv2d", convolve)
    sys.setprofile(note)
    try:
        with pytest.raises(FirstConvolution):
            decoder.decode(torch.zeros(1, 16, 1, 2, 2))
    finally:
        sys.setprofile(None)
    modules = {name.split(":")[0] for name in entered}
    assert modules - aside == {"vae", "validation", "memory", "streaming.run", "streaming.rows", "streaming.conv"}
    assert entered.count("validation:check_latent") == 1
