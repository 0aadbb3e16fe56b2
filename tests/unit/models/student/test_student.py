"""The student: reading, building, saving and refusing checkpoints, and the pooling of text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan_lite.models import read_contract
from wan_lite.models.checkpoint import CheckpointError
from wan_lite.models.metadata import read_metadata
from wan_lite.models.student import (
    StudentConfig,
    StudentNetwork,
    load_student,
    pool_text,
    read_student,
    save_student,
)
from wan_lite.models.student.loading import to_file_names
from wan_lite.models.student.network import timestep_embedding
from wan_lite.samplers import PRESETS

VECTORS = Path(__file__).parents[3] / "vectors"
DDIM = "ddim-10 training preview"
FLOW = "flow_unipc-20 shift 5"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "student_4ch"
    shutil.copytree(VECTORS / "student_4ch", copy)
    return copy


def edit_config(folder: Path, **changes: object) -> None:
    table = json.loads((folder / "config.json").read_text())
    table |= changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


def a_text(tokens: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [4, 16])
def test_a_folder_loads_with_its_sizes(channels: int) -> None:
    student = load_student(VECTORS / f"student_{channels}ch")
    assert student.config.num_channels == channels
    assert student.contract is None
    assert (student.config.latent_size, student.pixel_size, student.vae_channels) == (4, 32, 16)
    assert (student.output_proj is None) == (channels == 16)
    assert not student.network.training
    assert not any(p.requires_grad or p.is_meta for p in student.network.parameters())


def test_image_size_1024_is_a_512_pixel_picture() -> None:
    config = StudentConfig(1024, 16, 16, 4, 1024, 16, 4096)
    assert config.latent_size == 64
    assert config.latent_size * 8 == 512


def test_a_folder_without_contract_takes_a_preset_marked_assumed() -> None:
    student = load_student(VECTORS / "student_4ch", preset=FLOW)
    assert student.contract is not None
    assert (student.contract.solver, student.contract.shift, student.contract.source) == ("flow_unipc", 5.0, "assumed")


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"preset is 'ddim'; known are .*ddim-10 training preview"):
        load_student(VECTORS / "student_4ch", preset="ddim")


@pytest.mark.parametrize("name", ["diffusion_model.safetensors", "model.safetensors"])
def test_the_other_file_names_of_the_weights(folder: Path, name: str) -> None:
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / name)
    assert load_student(folder).source == f"student_4ch/{name}"


def test_the_weights_file_in_its_folder_loads_too(folder: Path) -> None:
    assert load_student(folder / "diffusion_pytorch_model.safetensors").config.num_channels == 4


@pytest.mark.parametrize("channels", [4, 16])
def test_a_saved_student_loads_back_bit_equal(tmp_path: Path, channels: int) -> None:
    student = load_student(VECTORS / f"student_{channels}ch")
    file = tmp_path / "one.safetensors"
    save_student(student, file, contract=PRESETS[DDIM])
    again = load_student(file, preset=FLOW)
    assert again.config == student.config
    for (name, one), (_, two) in zip(
        student.network.state_dict().items(), again.network.state_dict().items(), strict=True
    ):
        assert torch.equal(one, two), name
    if channels == 4:
        assert torch.equal(student.output_proj.weight, again.output_proj.weight)
        assert torch.equal(student.output_proj.bias, again.output_proj.bias)
    else:
        assert again.output_proj is None
    # The header's contract comes before the preset that the caller names.
    assert again.contract.solver == "ddim"
    assert again.contract.steps == 10


def test_the_saved_file_names_tensors_as_the_training_code_does(tmp_path: Path) -> None:
    student = load_student(VECTORS / "student_4ch")
    save_student(student, tmp_path / "one.safetensors", contract=PRESETS[DDIM])
    original = load_file(VECTORS / "student_4ch" / "diffusion_pytorch_model.safetensors")
    saved = load_file(tmp_path / "one.safetensors")
    assert set(saved) == set(original) | {"output_proj.weight", "output_proj.bias"}
    assert all(torch.equal(saved[name], value) for name, value in original.items())


def test_the_header_follows_modelspec(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    written = save_student(load_student(VECTORS / "student_4ch"), file, contract=PRESETS[FLOW])
    header = read_metadata(file)
    assert header == written
    assert header["modelspec.architecture"] == "wan-lite-student-flow_unipc-velocity"
    assert header["modelspec.resolution"] == "32x32"
    assert header["modelspec.title"] == "one"
    assert read_contract(file).shift == 5.0


def test_saving_needs_a_contract_and_a_safetensors_name(tmp_path: Path) -> None:
    student = load_student(VECTORS / "student_4ch")
    with pytest.raises(ValueError, match="no sampling contract"):
        save_student(student, tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        save_student(student, tmp_path / "one.pth", contract=PRESETS[DDIM])


def test_dtype_is_the_weights_and_the_projection_stays_float32(folder: Path) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    save_file({key: value.half() for key, value in load_file(weights).items()}, weights)
    assert read_student(folder).tensors["conv_in.weight"].dtype == torch.float16
    assert load_student(folder, dtype=torch.float16).network.conv_in.weight.dtype == torch.float16
    assert (
        load_student(folder).network.conv_in.weight.dtype == torch.float32
    )  # a CPU does not compute in half precision
    student = load_student(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in student.network.parameters()} == {torch.bfloat16}
    assert student.output_proj.weight.dtype == torch.float32
    latent = torch.randn(1, 4, 4, 4)
    out = student.network(latent, torch.tensor([500]), a_text(3)[None])
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


def test_names_map_both_ways() -> None:
    file = load_file(VECTORS / "student_4ch" / "diffusion_pytorch_model.safetensors")
    read = read_student(VECTORS / "student_4ch").tensors
    assert set(to_file_names(read)) == set(file)
    assert "blocks.0.attn.in_proj.weight" in read


def test_a_hosts_layers_are_used_and_decide_the_dtype() -> None:
    class Casting:
        class Linear(torch.nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return torch.nn.functional.linear(x, self.weight.to(x), self.bias.to(x))

        class Conv2d(torch.nn.Conv2d):
            def forward(self, x: Tensor) -> Tensor:
                return self._conv_forward(x, self.weight.to(x), self.bias.to(x))

        class LayerNorm(torch.nn.LayerNorm):
            def forward(self, x: Tensor) -> Tensor:
                return torch.nn.functional.layer_norm(
                    x, self.normalized_shape, self.weight.to(x), self.bias.to(x), self.eps
                )

    student = load_student(VECTORS / "student_4ch")
    hosted = StudentNetwork(student.config, dtype=torch.bfloat16, operations=Casting)
    hosted.load_state_dict(student.network.state_dict())
    rounded = StudentNetwork(student.config)
    rounded.load_state_dict({key: value.bfloat16() for key, value in student.network.state_dict().items()})
    arguments = torch.randn(2, 4, 4, 4), torch.tensor([3, 900]), a_text(5)[None]
    with torch.no_grad():
        assert torch.allclose(hosted(*arguments), rounded(*arguments), atol=1e-6)


# --- text -------------------------------------------------------------------------------------------------------------


def test_a_prompt_gives_the_same_alone_padded_and_beside_another() -> None:
    network = load_student(VECTORS / "student_4ch").network
    short, long = a_text(12, seed=1), a_text(60, seed=2)
    padded = torch.zeros(2, 512, 24)
    padded[0, :12], padded[1, :60] = short, long
    latent, timestep = torch.randn(2, 4, 4, 4), torch.tensor([700, 700])
    alone = network(latent[:1], timestep[:1], short[None])
    for text in (padded, padded[:, :60], [short, long]):
        assert (network(latent, timestep, text)[:1] - alone).abs().max() <= 1e-5
    assert (network(latent[:1], timestep[:1], padded[:1]) - alone).abs().max() <= 1e-5


def test_only_trailing_zero_rows_are_padding() -> None:
    rows = torch.tensor([[[2.0, 4.0], [0.0, 0.0], [4.0, 2.0], [0.0, 0.0]]])
    assert torch.allclose(pool_text(rows), torch.tensor([[2.0, 2.0]]))


def test_text_of_zeros_or_of_no_tokens_pools_to_zeros() -> None:
    assert torch.equal(pool_text(torch.zeros(2, 512, 24)), torch.zeros(2, 24))
    assert torch.equal(pool_text([torch.zeros(0, 24)]), torch.zeros(1, 24))


def test_padded_text_is_averaged_over_its_length() -> None:
    rows = a_text(6)
    padded = torch.zeros(1, 25, rows.shape[1])
    padded[0, :6] = rows
    assert torch.allclose(pool_text([rows], 25), padded.mean(dim=1))
    assert torch.allclose(pool_text(padded, 25), pool_text([rows], 25), atol=1e-6)
    assert torch.equal(pool_text(padded, 6), pool_text(padded))
    with pytest.raises(ValueError, match="text has 6 tokens, but it is to be averaged over 5"):
        pool_text(padded, 5)


def test_pooled_text_may_be_passed_instead_of_rows() -> None:
    network = load_student(VECTORS / "student_4ch").network
    latent, timestep, text = torch.randn(2, 4, 4, 4), torch.tensor([10, 20]), [a_text(3), a_text(9, seed=4)]
    assert torch.equal(network(latent, timestep, text), network(latent, timestep, pool_text(text)))


def test_one_prompt_serves_a_whole_batch() -> None:
    network = load_student(VECTORS / "student_4ch").network
    latent, text = torch.randn(2, 4, 4, 4), a_text(3)[None]
    both = network(latent, torch.tensor([10]), text)
    assert torch.allclose(both[1:], network(latent[1:], torch.tensor([10]), text), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (torch.zeros(3, 24), r"text holds 3 prompts for a batch of 2"),
        (torch.zeros(2, 5, 7), r"text has embeddings of width 7, but this student was trained with 24"),
        (torch.zeros(2, 2, 5, 24), r"text has shape \[2, 2, 5, 24\]"),
        ([], r"text is an empty list"),
    ],
)
def test_text_that_does_not_fit_is_a_sentence(text: object, sentence: str) -> None:
    network = load_student(VECTORS / "student_4ch").network
    with pytest.raises(ValueError, match=sentence):
        network(torch.zeros(2, 4, 4, 4), torch.tensor([1, 1]), text)


def test_a_latent_of_another_width_is_a_sentence() -> None:
    network = load_student(VECTORS / "student_4ch").network
    with pytest.raises(ValueError, match=r"latent has shape \[1, 16, 4, 4\], but this student takes \(batch, 4,"):
        network(torch.zeros(1, 16, 4, 4), torch.tensor([1]), torch.zeros(1, 1, 24))


def test_time_embedding_is_sines_then_cosines_over_half_minus_one() -> None:
    emb = timestep_embedding(torch.tensor([0, 999]), 8)
    assert torch.equal(emb[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    assert torch.allclose(emb[1, 3], torch.tensor(999.0 / 10000.0).sin(), atol=1e-5)


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_student(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_folder_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "student_4ch: has no config.json" in refused(folder)


def test_a_config_without_a_key(folder: Path) -> None:
    edit_config(folder, hidden_size=None)
    assert "student_4ch/config.json: has no hidden_size" in refused(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_size": 30}, "must be even, at least 4 and a multiple of num_heads"),
        ({"depth": 0}, "depth is 0; it must be a whole number"),
        ({"depth": "2"}, "depth is '2'"),
        ({"image_size": 8}, "image_size 8 is smaller than patch_size 16"),
        ({"hidden_size": 64}, "has shape"),
        ({"depth": 3}, "12 tensors missing"),
    ],
)
def test_a_config_that_cannot_be(folder: Path, changes: dict[str, object], sentence: str) -> None:
    edit_config(folder, **changes)
    assert sentence in refused(folder)


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_config_that_is_no_table(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "student_4ch/config.json" in refused(folder)


def test_a_config_that_is_no_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in refused(folder)


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    assert "has a config.json but no weights" in refused(folder)


def test_a_missing_projection(folder: Path) -> None:
    (folder / "output_proj.safetensors").unlink()
    assert "4 channels without an output projection" in refused(folder)


def test_a_projection_of_another_student(folder: Path) -> None:
    save_file({"weight": torch.zeros(16, 8, 1, 1), "bias": torch.zeros(16)}, folder / "output_proj.safetensors")
    assert "a weight of shape [16, 8, 1, 1]" in refused(folder)


def test_a_single_file_without_its_projection(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    save_student(load_student(VECTORS / "student_4ch"), file, contract=PRESETS[DDIM])
    kept = {key: value for key, value in load_file(file).items() if not key.startswith("output_proj")}
    save_file(kept, file, metadata=read_metadata(file))
    assert "without an output projection" in refused(file)


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "is not a complete safetensors file" in refused(folder)


def test_weights_with_nan(folder: Path) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.weight"][0, 0, 0, 0] = torch.nan
    save_file(tensors, weights)
    assert "conv_in.weight holds NaN or infinite values" in refused(folder)


def test_foreign_weights_in_the_folder(folder: Path) -> None:
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, folder / "diffusion_pytorch_model.safetensors")
    assert "It looks like a Flux model" in refused(folder)


def test_a_foreign_single_file(tmp_path: Path) -> None:
    save_file({"decoder.middle.0.residual.0.gamma": torch.zeros(1)}, tmp_path / "vae.safetensors")
    assert "vae.safetensors: holds a Wan VAE" in refused(tmp_path / "vae.safetensors")


def test_weights_taken_out_of_their_folder(tmp_path: Path) -> None:
    shutil.copy(VECTORS / "student_4ch" / "diffusion_pytorch_model.safetensors", tmp_path / "lone.safetensors")
    assert "keep it in its folder beside config.json" in refused(tmp_path / "lone.safetensors")


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "nothing")


def test_reading_gives_what_a_host_needs_to_build(folder: Path) -> None:
    checkpoint = read_student(folder, preset=DDIM)
    assert set(checkpoint.projection) == {"weight", "bias"}
    assert "blocks.1.attn.in_proj.bias" in checkpoint.tensors
    assert checkpoint.contract.steps == 10
