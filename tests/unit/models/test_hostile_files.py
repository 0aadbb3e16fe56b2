"""Damaged, foreign and absurd files: every loader refuses them quickly, in one sentence that names the file."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_lite.models import (
    load_known_students,
    load_student,
    load_wan_vae,
    load_world,
    read_contract,
    save_student,
    stamp,
)
from wan_lite.models.checkpoint import read_tensors, write_tensors
from wan_lite.models.metadata import read_metadata
from wan_lite.models.text_embeds import read_text_embeds, save_text_embeds
from wan_lite.models.world import save_world
from wan_lite.pipeline.inspection import inspect
from wan_lite.samplers import PRESETS

VECTORS = Path(__file__).parents[2] / "vectors"
STUDENT = VECTORS / "student_4ch"
WORLD = VECTORS / "tinyworlds" / "current" / "checkpoints_current"
PRESET = next(iter(PRESETS))


def refusal(load: Callable[[Path], Any], path: Path, name: str | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert (name or path.name) in text
    return text


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STUDENT, tmp_path / "schüler", ignore=shutil.ignore_patterns("golden*")))


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save_student(load_student(STUDENT, preset=PRESET), tmp_path / "schüler.safetensors")
    return tmp_path / "schüler.safetensors"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    save_world(load_world(WORLD), tmp_path / "wélt.safetensors")
    return tmp_path / "wélt.safetensors"


def damaged(content: bytes, count: int) -> list[bytes]:
    """Cut at several lengths, and with bytes changed at random, mostly near the beginning."""
    chance = random.Random(7)
    cuts = [content[:length] for length in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1)]
    flipped = []
    for _ in range(count):
        copy = bytearray(content)
        for _ in range(chance.choice((1, 5, 40))):
            copy[chance.randrange(min(len(copy), chance.choice((400, 5000, len(copy)))))] = chance.randrange(256)
        flipped.append(bytes(copy))
    return [*cuts, *flipped, b"<html>404</html>"]


@pytest.mark.parametrize("kind", ["zip", "stream", "published"])
def test_damaged_pickles(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "gewichte.pth"
    if kind == "published":
        shutil.copy(next((WORLD.parent / "checkpoints_singlefile_pth").rglob("*.pth")), path)
    else:
        torch.save({"a": torch.ones(3), "b": torch.zeros(2)}, path, _use_new_zipfile_serialization=kind == "zip")
    for content in damaged(path.read_bytes(), 80):
        path.write_bytes(content)
        try:
            read_tensors(path)  # a changed byte may lie in a number or in padding
        except ValueError as error:
            assert path.name in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "load", [load_student, inspect, read_contract, lambda path: stamp(path, PRESETS[PRESET])],
    ids=["load_student", "inspect", "read_contract", "stamp"],
)  # fmt: skip
def test_damaged_student_files(single: Path, load: Callable[[Path], Any]) -> None:
    for content in damaged(single.read_bytes(), 25):
        single.write_bytes(content)
        try:
            load(single)
        except ValueError as error:
            assert single.name in str(error) and "\n" not in str(error)
    assert list(single.parent.iterdir()) == [single]


def test_damaged_world_files(world: Path) -> None:
    for content in damaged(world.read_bytes(), 25):
        world.write_bytes(content)
        try:
            load_world(world)
        except ValueError as error:
            assert world.name in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", 10**9), ("depth", -1), ("hidden_size", 10**15), ("hidden_size", "64"), ("num_heads", 0),
        ("num_channels", 10**9), ("num_channels", None), ("image_size", 1e9), ("image_size", True), ("patch_size", 0),
        ("patch_size", []), ("text_encoder_output_dim", 2**70), ("hidden_size", float("nan")),
    ],
)  # fmt: skip
def test_absurd_sizes_of_a_student(student: Path, name: str, value: object) -> None:
    config = json.loads((student / "config.json").read_text())
    (student / "config.json").write_text(json.dumps(config | {name: value}))
    assert f"{name} is " in refusal(load_student, student)


def test_sizes_that_are_nested_too_deep(student: Path) -> None:
    (student / "config.json").write_text("[" * 100_000)
    assert "is not valid JSON" in refusal(load_student, student)
    assert "folder of 2 files" in str(inspect(student))


def test_a_projection_that_is_none(student: Path) -> None:
    beside = student / "output_proj.safetensors"
    for tensors in ({"bias": torch.zeros(16)}, {"weight": torch.zeros(16, 4)}, {"weight": torch.zeros(7, 4, 1, 1)}):
        save_file(tensors, beside)
        for load in (load_student, inspect):
            assert "its output projection holds" in refusal(load, student)
    save_file({"weight": torch.zeros(16, 4, 1, 1)}, beside)
    refusal(load_student, student, beside.name)


def test_weights_of_another_kind_of_number(student: Path) -> None:
    weights = student / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"conv_in.weight": tensors["conv_in.weight"].to(torch.int8)}, weights)
    assert "conv_in.weight is int8" in refusal(load_student, student)


def test_the_header_of_a_students_contract(single: Path) -> None:
    header, tensors = read_metadata(single), load_file(single)
    for text, said in (("{", "is not JSON"), ('{"version": 9}', "update Wan Lite"), ("7", "is int, not an object")):
        write_tensors(single, tensors, header | {"wan_lite.sampling_contract": text})
        assert said in refusal(load_student, single)
    assert load_student(single, preset=PRESET).contract.source == "assumed"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"version": None}, {"tokenizer": 7}, {"tokenizer": {}}, {"dynamics": {"frame_size": "32"}},
        {"tokenizer": {"frame_size": 10**12, "num_heads": 2}}, {"tokenizer": {"frame_size": 33, "num_heads": 2}},
        {"tokenizer": {"frame_size": 32, "num_heads": -2}}, {"tokenizer": {"frame_size": 32, "num_heads": 0}},
        {"dynamics": {"frame_size": 32, "num_heads": 2, "patch_size": 0}},
        {"dynamics": {"frame_size": 32, "num_heads": 2, "patch_size": 4, "num_bins": 1}},
        {"dynamics": {"frame_size": 32, "num_heads": 2, "patch_size": 4, "num_bins": 10**9}},
        {"dynamics": {"frame_size": 32, "num_heads": 2, "patch_size": 4, "num_bins": 2, "hidden_dim": 10**12}},
    ],
    ids=str,
)  # fmt: skip
def test_absurd_sizes_of_a_world(world: Path, change: dict[str, Any]) -> None:
    header, tensors = read_metadata(world), load_file(world)
    config = json.loads(header["wan_lite.world_config"]) | change
    write_tensors(world, tensors, header | {"wan_lite.world_config": json.dumps(config)})
    refusal(load_world, world)


def test_worlds_whose_tensors_lie_about_their_size(world: Path) -> None:
    header, tensors = read_metadata(world), load_file(world)
    inner = "dynamics.transformer.blocks."
    for change in (
        {f"{inner}{10**12}.ffn.w_v.weight": torch.zeros(1)},
        {f"{inner}x.ffn.w_v.weight": torch.zeros(1)},
        {"tokenizer.quantizer.basis": torch.zeros(0, dtype=torch.int64)},
        {"tokenizer.quantizer.basis": tensors["tokenizer.quantizer.basis"].double()},
        {"tokenizer.encoder.patch_embed.proj.weight": torch.zeros(10**6, 0, 1, 1)},
        {"dynamics.latent_embed.weight": torch.zeros(0, 10**6)},
        {"dynamics.output_mlp.weight": torch.zeros(2)},
        {"latent_actions.encoder.action_head.3.weight": torch.zeros(60, 4)},
    ):
        write_tensors(world, tensors | change, header)
        refusal(load_world, world)


def test_a_world_and_single_networks_exclude_each_other(world: Path) -> None:
    with pytest.raises(ValueError, match="give one or the other"):
        load_world(world, tokenizer=world)


@pytest.mark.parametrize(
    "tensors",
    [
        {"text": torch.zeros(4)}, {"text": torch.zeros(0, 8)}, {"text": torch.zeros(2, 3, 8)},
        {"text": torch.zeros(3, 0)}, {"text": torch.zeros(3, 8, dtype=torch.int64)},
        {"text": torch.full((3, 8), torch.nan)}, {"text": torch.full((3, 8), 3e38)},
        {"text.0": torch.zeros(3, 8), "text.1": torch.zeros(3, 9)}, {"text.1": torch.zeros(3, 8)},
        {"text": torch.zeros(3, 8), "other": torch.zeros(1)}, {},
    ],
)  # fmt: skip
def test_embeds_of_a_wrong_shape(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "wörter.safetensors")
    refusal(read_text_embeds, tmp_path / "wörter.safetensors")


def test_captions_that_cannot_be_read_leave_the_rows_usable(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for captions in ("{", "7", "[" * 100_000, '["one", "two", "three"]'):
        write_tensors(path, {"text": torch.ones(2, 4)}, {"wan_lite.captions": captions})
        texts, words = read_text_embeds(path)
        assert len(texts) == len(words) == 1


@pytest.mark.parametrize("texts", [[], [torch.ones(3)], [torch.ones(0, 4)], [torch.ones(1, 4), torch.ones(1, 5)]])
def test_embeds_that_could_not_be_read_again_are_not_written(tmp_path: Path, texts: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="texts holds"):
        save_text_embeds(tmp_path / "a.safetensors", texts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38, -70000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_embeds_that_no_text_encoder_gives_are_neither_written_nor_read(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    text = torch.zeros(3, 8, dtype=dtype)
    text[1, 2] = value
    with pytest.raises(ValueError, match="texts hold values that are NaN, infinite or beyond 65504"):
        save_text_embeds(tmp_path / "a.safetensors", [torch.ones(3, 8, dtype=dtype), text])
    assert list(tmp_path.iterdir()) == []
    save_file({"text": text}, tmp_path / "a.safetensors")
    assert "beyond 65504" in refusal(read_text_embeds, tmp_path / "a.safetensors")


def test_an_impossible_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    student = load_student(STUDENT, preset=PRESET)
    with pytest.raises(OSError) as raised:
        save_student(student, tmp_path / "file" / "s.safetensors")
    assert raised.value.filename.endswith("s.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def enlarge(path: Path) -> Path:
    """Make a file of 40 MB without writing it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(40_000_000)
    return path


@pytest.mark.parametrize("name", ["config.json", "sampling_contract.json", "scheduler_config.json"])
def test_a_configuration_that_is_larger_than_any_real_one_is_not_read(student: Path, name: str) -> None:
    enlarge(student / name)
    assert "has 40 MB, and at most 8 MB" in refusal(load_student, student, name)


def test_large_configurations_of_other_kinds_are_not_read_either(tmp_path: Path) -> None:
    source = VECTORS / "wan_vae" / "wan21_tiny_diffusers.safetensors"
    shutil.copy(source, tmp_path / "diffusion_pytorch_model.safetensors")
    enlarge(tmp_path / "config.json")
    assert "has 40 MB" in refusal(load_wan_vae, tmp_path, "config.json")
    assert "tensors" in str(inspect(tmp_path)) or "folder" in str(inspect(tmp_path))
    assert "has 40 MB" in refusal(load_known_students, enlarge(tmp_path / "known.json"))


def test_two_names_of_one_tensor_in_a_vae_are_not_taken_for_one(tmp_path: Path) -> None:
    tensors = load_file(VECTORS / "wan_vae" / "wan21_tiny_diffusers.safetensors")
    name = next(name for name in tensors if "up_blocks.1.upsamplers.0." in name)
    layers = {int(key.split(".")[4]) for key in tensors if key.startswith("decoder.up_blocks.1.resnets.")}
    other = name.replace("upsamplers.0", f"resnets.{max(layers) + 1}")
    assert other != name and other not in tensors
    save_file(tensors | {other: torch.zeros(1)}, tmp_path / "vae.safetensors")
    assert "are the same one of a Wan VAE" in refusal(load_wan_vae, tmp_path / "vae.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [("contract", []), ("core", "x"), ("alternatives", {}), ("alternatives", [{"why": "x", "changes": None}]),
     ("names", None), ("title", 7), ("of", 3), ("off", "no"), ("sources", [1])],
)  # fmt: skip
def test_known_students_of_a_wrong_form(tmp_path: Path, key: str, value: object) -> None:
    (tmp_path / "own.json").write_text(json.dumps({"format": 1, "students": [{"id": "mine", key: value}]}))
    assert "mine" in refusal(load_known_students, tmp_path / "own.json")
