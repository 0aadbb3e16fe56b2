"""Reading checkpoints: nothing runs, and whatever is wrong is one sentence."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wan_lite.models.checkpoint import CheckpointError, read_tensors
from wan_lite.models.fitting import load_into
from wan_lite.models.model_kind import ModelKind, identify_model
from wan_lite.models.pickles import read_pickle


class Settings:
    """Stands for a class that a training script pickled."""


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin"])
def test_each_format_gives_the_tensors(tmp_path: Path, name: str) -> None:
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3)}
    save = save_file if name.endswith("safetensors") else torch.save
    save(tensors, tmp_path / name)
    assert torch.equal(read_tensors(tmp_path / name)["a.weight"], tensors["a.weight"])


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "model_state_dict"])
def test_a_training_checkpoint_is_unwrapped(tmp_path: Path, wrapper: str) -> None:
    torch.save({wrapper: {"a": torch.ones(1)}, "step": 7}, tmp_path / "w.pth")
    assert list(read_tensors(tmp_path / "w.pth")) == ["a"]


@pytest.mark.parametrize(
    ("key", "stripped"),
    [
        ("_orig_mod.a.weight", "a.weight"),
        ("module.a.weight", "a.weight"),
        ("module._orig_mod.a", "a"),
        ("a._orig_mod.b", "a.b"),
        ("module.submodule.weight", "submodule.weight"),
        ("submodule.weight", "submodule.weight"),
    ],
)
def test_prefixes_of_wrappers_are_removed_and_nothing_else(tmp_path: Path, key: str, stripped: str) -> None:
    save_file({key: torch.ones(1)}, tmp_path / "w.safetensors")
    assert list(read_tensors(tmp_path / "w.safetensors")) == [stripped]


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1), "module.a": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert "tensors of the same name" in refused(tmp_path / "w.safetensors")


def test_a_malicious_pickle_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "was_run"
    for index, save in enumerate((torch.save, lambda content, path: path.write_bytes(pickle.dumps(content)))):
        path = tmp_path / f"evil{index}.pth"
        save({"a": Bomb(target)}, path)
        sentence = refused(path)
        assert "refused" in sentence or "cannot be read" in sentence
    assert not target.exists()


def test_a_class_is_read_only_where_a_stand_in_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"config": Settings(), "a": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"refused, nothing in it was run: it asks for .*Settings; save"):
        read_pickle(path)
    name = f"{Settings.__module__}.{Settings.__qualname__}"
    assert isinstance(read_pickle(path, stand_ins=[(Settings, name)])["config"], Settings)


def test_a_missing_file(tmp_path: Path) -> None:
    for name in ("no.safetensors", "no.pth"):
        assert "there is no such file" in refused(tmp_path / name)


def test_a_folder_where_a_file_was_meant(tmp_path: Path) -> None:
    for name in ("folder.safetensors", "folder"):
        (tmp_path / name).mkdir()
        assert "is a folder" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize(
    "content", [b"<html>404 Not Found</html>" * 9, b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_a_file_of_another_kind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


@pytest.mark.parametrize("content", [[torch.ones(1)], {}, {"a": 1}, torch.ones(2), None])
def test_a_pickle_that_is_no_table_of_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "not a mapping of named tensors" in refused(tmp_path / "w.pth")


def test_loading_fits_exactly_or_says_what_does_not() -> None:
    module = nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}
    load_into(module, good, source="f", what="a line")
    assert torch.equal(module.weight, good["weight"])
    with pytest.raises(CheckpointError, match=r"f: is not a line: 1 tensors missing \(bias\), 1 unexpected \(x\)"):
        load_into(module, {"weight": torch.ones(3, 2), "x": torch.ones(1)}, source="f", what="a line")
    with pytest.raises(CheckpointError, match=r"f: weight has shape \[2, 3\], but a line of this size needs \[3, 2\]"):
        load_into(module, good | {"weight": torch.ones(2, 3)}, source="f", what="a line")
    for bad in (torch.nan, torch.inf):
        with pytest.raises(CheckpointError, match="f: bias holds NaN or infinite values"):
            load_into(module, good | {"bias": torch.full((3,), bad)}, source="f", what="a line")


def test_a_module_on_the_meta_device_gets_memory_of_its_own_in_the_tensors_dtype() -> None:
    module = nn.Linear(2, 3, device="meta")
    weight = torch.ones(7, dtype=torch.float16)[1:].reshape(3, 2)  # not aligned, as in a file
    load_into(module, {"weight": weight, "bias": torch.zeros(3).half()}, source="f", what="a line")
    assert torch.equal(module.weight, weight) and module.weight.dtype == torch.float16
    assert module.weight.data_ptr() != weight.data_ptr() and module.weight.data_ptr() % 64 == 0


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("lora_unet_blocks_0.lora_down.weight", ModelKind.LORA),
        ("blocks.0.cross_attn.q.weight", ModelKind.WAN_VIDEO),
        ("double_blocks.0.img_mod.lin.weight", ModelKind.FLUX),
        ("decoder.up.0.block.0.conv1.weight", ModelKind.OTHER_VAE),
        ("decoder.middle.0.residual.0.gamma", ModelKind.WAN_VAE),
        ("blocks.0.attn.in_proj_weight", ModelKind.STUDENT),
        ("something.else", None),
    ],
)
def test_known_kinds_are_recognised(key: str, kind: ModelKind | None) -> None:
    assert identify_model([key]) is kind
