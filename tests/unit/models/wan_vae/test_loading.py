"""Wan VAEs on disk: layouts, strict loads, files that appear whole or not at all."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wan_lite.cli import main
from wan_lite.models import checkpoint, metadata
from wan_lite.models.checkpoint import CheckpointError
from wan_lite.models.metadata import read_metadata
from wan_lite.models.wan_vae import VAEFile, WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae

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
    vae = load_wan_vae(path_of(variant), torch.float16, video=True)
    written = save_wan_vae(vae, tmp_path / f"vae{suffix}", layout)
    again = load_wan_vae(tmp_path / f"vae{suffix}", torch.float16, video=True)
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


def test_an_image_vae_saves_zeros_where_only_videos_look(tmp_path: Path) -> None:
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


def test_saving_an_image_vae_keeps_the_files_video_weights(tmp_path: Path) -> None:
    vae = load_wan_vae(path_of("wan21"), torch.float16)
    save_wan_vae(vae, tmp_path / "vae.safetensors")
    original = load_file(path_of("wan21"))
    assert all(torch.equal(v, original[k]) for k, v in load_file(tmp_path / "vae.safetensors").items())


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


def change_header(path: Path, name: str, **entries: object) -> None:
    """Let the header of a file say otherwise about a tensor."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header[name] |= entries
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[start:])


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


LYING_HEADERS = [
    ("conv2.weight", torch.zeros(10**8, 0, 1, 1, 1), "conv2.weight has 5 dimensions.*none of them 0"),
    ("conv2.weight", torch.zeros(5000, 1, 1, 1, 1, dtype=torch.int8).repeat(4, 1, 1, 1, 1), "z_dim is 20000"),
    ("decoder.head.2.weight", torch.zeros(3, 10**6, 0), "decoder.head.2.weight has 3 dimensions"),
    ("encoder.conv1.weight", torch.zeros(()), "encoder.conv1.weight has 0 dimensions"),
    ("encoder.conv1.weight", torch.zeros(8), "encoder.conv1.weight has 1 dimensions"),
    ("encoder.conv1.weight", torch.zeros(0, 3, 3, 3, 3), "encoder.conv1.weight has 5 dimensions"),
    ("encoder.downsamples.0.residual.2.weight", torch.zeros(()), "residual.2.weight has 0 dimensions"),
    ("encoder.downsamples.1.residual.2.weight", torch.zeros(1, 1, 1, 1, 1), "a stage has 0 channels"),
    ("encoder.downsamples.2.resample.1.weight", torch.zeros(1), "resample.1.weight has 1 dimensions"),
]


@pytest.mark.parametrize("name, change, sentence", LYING_HEADERS)
def test_a_header_that_lies_takes_no_memory(name: str, change: torch.Tensor, sentence: str, tmp_path: Path) -> None:
    path = damaged(tmp_path, name, change)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=f"damaged.safetensors: is not a usable Wan VAE: .*{sentence}") as caught:
        load_wan_vae(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert len(str(caught.value)) <= 400


@pytest.mark.parametrize("video", [True, None])
@pytest.mark.parametrize("shape", [(0,), (32, 16, 0, 3, 3), (10**6, 0), (1,) * 69 + (0,)])
def test_a_tensor_of_any_shape_is_refused(shape: tuple[int, ...], video: bool | None, tmp_path: Path) -> None:
    path = damaged(tmp_path, "decoder.conv1.weight", torch.zeros(0))
    change_header(path, "decoder.conv1.weight", shape=shape)
    with pytest.raises(CheckpointError, match=r"damaged.safetensors: .*decoder\.conv1\.weight") as caught:
        load_wan_vae(path, video=video)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 400


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "I8", "C64"])
def test_a_dtype_that_no_vae_has_is_refused(dtype: str, tmp_path: Path) -> None:
    path = damaged(tmp_path, "decoder.conv1.bias", torch.zeros(0, dtype=torch.float16))
    change_header(path, "decoder.conv1.bias", dtype=dtype)
    with pytest.raises(CheckpointError, match=r"damaged.safetensors: .*decoder\.conv1\.bias"):
        load_wan_vae(path)


def test_a_wide_vae_in_a_small_file_takes_no_memory(tmp_path: Path) -> None:
    """2 MB that claim 8192 channels, which would be 100 GB: that tensors are missing is seen before any is made."""
    dim, float8 = 8192, torch.float8_e4m3fn
    shapes = {
        "conv2.weight": (16, 16, 1, 1, 1), "encoder.conv1.weight": (dim, 3, 3, 3, 3),
        "decoder.head.2.weight": (3, dim, 3, 3, 3), "decoder.middle.0.residual.0.gamma": (dim, 1, 1, 1),
        "encoder.downsamples.0.residual.2.weight": (dim, 1, 1, 1, 1),
    }  # fmt: skip
    save_file({name: torch.zeros(shape, dtype=float8) for name, shape in shapes.items()}, tmp_path / "wide.safetensors")
    with pytest.raises(CheckpointError, match=r"wide.safetensors: is not a wan2.1 VAE: \d+ tensors missing"):
        load_wan_vae(tmp_path / "wide.safetensors")


BAD_STATISTICS = [
    ("[1, 2", "is not valid JSON"),
    ("[" * 100_000, "is not valid JSON"),
    ("\udcff", "cannot be read as text"),
    ("[]", "holds a list, not a mapping"),
    ('{"latents_mean": 3}', "latents_mean is not a list of numbers"),
    ('{"latents_mean": ["0"]}', "latents_mean is not a list of numbers"),
    (json.dumps({"latents_mean": [0.0] * 15}), "latents_mean has 15 values for 16 channels"),
    (json.dumps({"latents_std": []}), "latents_std has 0 values"),
    (json.dumps({"latents_mean": [0.0] * 15 + [float("nan")]}), "latents_mean holds nan"),
    (json.dumps({"latents_std": [1.0] * 15 + [0.0]}), "latents_std holds 0"),
    (json.dumps({"latents_std": [10**400] * 16}), "too large"),
]


@pytest.mark.parametrize("content, sentence", BAD_STATISTICS)
def test_bad_statistics_beside_the_weights_are_named(content: str, sentence: str, vae: WanVAE, tmp_path: Path) -> None:
    save_wan_vae(vae, tmp_path / "vae", "diffusers")
    (tmp_path / "vae" / "config.json").write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(CheckpointError, match=f"vae/config.json: .*{sentence}") as caught:
        load_wan_vae(tmp_path / "vae")
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 400


def test_a_config_without_statistics_leaves_the_known_ones(vae: WanVAE, tmp_path: Path) -> None:
    save_wan_vae(vae, tmp_path / "vae", "diffusers")
    (tmp_path / "vae" / "config.json").write_text('{"latents_mean": null}')
    assert load_wan_vae(tmp_path / "vae").config == vae.config


def test_nan_that_only_videos_read_stops_videos_only(tmp_path: Path) -> None:
    name = "decoder.upsamples.3.time_conv.bias"
    vae = load_wan_vae(damaged(tmp_path, name, torch.full((64,), float("nan"))))
    z = torch.randn(1, 16, 2, 2, 2)
    assert torch.isfinite(vae.decode(z[:, :, :1])).all()
    with pytest.raises(CheckpointError, match=f"{name}.*images only"):
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


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    torch.manual_seed(0)
    return WanVAE(WanVAEConfig(dim=4))


def interrupted(tensors: object, path: Path, **options: object) -> NoReturn:
    """A writer that is stopped half-way."""
    path.write_bytes(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["vae.safetensors", "vae.pth", "folder"])
def test_an_interrupted_save_leaves_the_old_files(
    name: str, vae: WanVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = "diffusers" if name == "folder" else "official"
    save_wan_vae(vae, tmp_path / name, layout)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == (2 if name == "folder" else 1)
    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_wan_vae(WanVAE(WanVAEConfig(dim=8)), tmp_path / name, layout)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert load_wan_vae(tmp_path / name).config.dim == 4


def test_the_header_carries_what_is_given(vae: WanVAE, tmp_path: Path) -> None:
    written = save_wan_vae(vae, tmp_path / "new" / "vae.safetensors", metadata={"modelspec.title": "mine"})
    assert metadata.read_metadata(written) == {"format": "pt", "modelspec.title": "mine"}
    folder = save_wan_vae(vae, tmp_path / "folder", "diffusers").parent
    assert json.loads((folder / "config.json").read_text())["_class_name"] == "AutoencoderKLWan"


@pytest.mark.parametrize(("name", "layout"), [("vae", "official"), ("vae.bin", "official"), ("vae.gguf", "diffusers")])
def test_names_that_nothing_reads_are_refused(name: str, layout: str, vae: WanVAE, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"path is {name}; a VAE is written as \.safetensors, \.pth or \.pt"):
        save_wan_vae(vae, tmp_path / name, layout)
    assert not list(tmp_path.iterdir())
