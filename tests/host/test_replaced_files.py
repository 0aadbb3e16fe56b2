"""Files that change under a running server: a replaced one is noticed, a deleted one is a sentence, and both mend."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from host.client import Client
from host.graphs import Graph, paint

OWN = "replaced"


@pytest.fixture
def graph(comfy: Client) -> Graph:
    """A graph that reads copies of its own of a student, a VAE and text embeddings."""
    models = comfy.base / "models"
    for path in (models / "wan_students" / OWN, models / "wan_lite_embeds" / f"{OWN}.safetensors"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(models / "wan_students" / "student_16ch", models / "wan_students" / OWN)
    embeds = models / "wan_lite_embeds"
    shutil.copyfile(embeds / "student_16ch.safetensors", embeds / f"{OWN}.safetensors")
    shutil.copyfile(models / "vae" / "wan21_tiny.safetensors", models / "vae" / f"{OWN}.safetensors")
    made = paint(OWN, "flow-unipc", steps=2, shift=5.0)
    made["4"]["inputs"]["on_mismatch"] = "ignore"
    made["5"]["inputs"]["vae_name"] = f"{OWN}.safetensors"
    del made["9"]  # the latents, which need no VAE
    return made


FILES: dict[str, tuple[str, str]] = {
    "student": (f"wan_students/{OWN}/diffusion_pytorch_model.safetensors", "conv_out.weight"),
    "VAE": (f"vae/{OWN}.safetensors", "conv2.weight"),
    "text": (f"wan_lite_embeds/{OWN}.safetensors", "text"),
}


def change(path: Path, name: str) -> None:
    """Put another file in a file's place, as a finished download does: one tensor is twice as large."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[name] = 2 * tensors[name] + torch.ones(())
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata)
    part.replace(path)


def paint_again(comfy: Client, graph: Graph) -> np.ndarray:
    result = comfy.queue(graph)
    assert result.status == "success", (result.error, result.node_errors)
    return result.images("8")[0]


@pytest.mark.parametrize(("file", "tensor"), FILES.values(), ids=FILES)
def test_a_file_that_is_replaced_between_two_prompts_is_noticed(
    comfy: Client, graph: Graph, file: str, tensor: str, tmp_path: Path
) -> None:
    path = comfy.base / "models" / file
    first = paint_again(comfy, graph)
    shutil.copy2(path, tmp_path / "old")
    change(path, tensor)
    assert not np.array_equal(paint_again(comfy, graph), first)
    shutil.copyfile(tmp_path / "old", path)
    assert np.array_equal(paint_again(comfy, graph), first)


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    """Cut a file to a third where it lies: whoever still reads it from the disk reads nothing there."""
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size // 3)


@pytest.mark.parametrize(("file", "tensor"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("damage", [remove, cut])
def test_a_file_that_goes_while_it_is_loaded_is_a_sentence(
    comfy: Client, graph: Graph, file: str, tensor: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    path = comfy.base / "models" / file
    first = paint_again(comfy, graph)
    shutil.copy2(path, tmp_path / "old")
    damage(path)
    result = comfy.queue(graph)
    assert result.status in ("error", "invalid")
    said = result.said if result.status == "error" else str(result.validation_errors())
    assert (OWN in said or path.name in said) and "Traceback" not in said, said
    if result.status == "error":
        assert result.error_type == "ValueError" and len(said) <= 400, said
    shutil.copyfile(tmp_path / "old", path)
    assert np.array_equal(paint_again(comfy, graph), first)
