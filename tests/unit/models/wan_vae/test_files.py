"""A VAE on disk appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from wan_lite.models import checkpoint, metadata
from wan_lite.models.wan_vae.vae import WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae


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
