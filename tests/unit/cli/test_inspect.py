"""``wan-lite inspect`` on the small vectors: what it says of every kind of file, and of damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from wan_lite.cli import main
from wan_lite.models.text_embeds import save_text_embeds
from wan_lite.pipeline import inspection
from wan_lite.pipeline.generation import save_png

VECTORS = Path(__file__).parents[2] / "vectors"
VAE = str(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")
STUDENT = VECTORS / "student_4ch"
FLOW = "flow_unipc-20 shift 5"


def paint(embeds: str, out: Path, *more: str, student: Path = STUDENT, vae: str = VAE) -> int:
    return main(["sample", "--student", str(student), "--vae", vae, "--embeds", embeds, "--out", str(out), *more])


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that an error leaves."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_inspect_says_the_true_picture_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_size": 1024}))
    assert main(["inspect", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("a distilled Wan student\n")
    assert "4 channels, 64x64" in printed
    assert "512x512 pixels (image_size 1024 in the config is not the image's size)" in printed
    assert "none: nothing in the checkpoint says how to sample it" in printed
    assert "to 16 channels, once after sampling" in printed


def test_inspect_knows_every_kind(embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"lora_up.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    lone = tmp_path / "lone.safetensors"
    shutil.copy(STUDENT / "diffusion_pytorch_model.safetensors", lone)
    assert main(["inspect", VAE, embeds, str(lone), str(tmp_path / "lora.safetensors"), str(tmp_path)]) == 0
    kinds = [block.splitlines()[0] for block in capsys.readouterr().out.split("\n\n")]
    assert kinds == [
        "a Wan VAE",
        "text embeddings",
        "a distilled Wan student's weights, without their config.json",
        "a LoRA",
        "a folder of 3 files with weights",
    ]


def test_inspect_knows_world_models(capsys: pytest.CaptureFixture[str]) -> None:
    worlds = VECTORS / "tinyworlds"
    network = next((worlds / "legacy").glob("dynamics*.pth"))
    assert main(["inspect", str(worlds / "current" / "checkpoints_current"), str(network)]) == 0
    whole, part = capsys.readouterr().out.split("\n\n")
    assert whole.startswith("a world model\n")
    assert "32x32 pixels" in whole
    assert "4, ids 0 to 3" in whole
    assert part.startswith("one network of a world model: dynamics model (the legacy format of July 2025)")


def test_inspect_reads_the_contract_of_a_picture(
    embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, hosts, plain = tmp_path / "ours.png", tmp_path / "hosts.png", tmp_path / "plain.png"
    assert paint(f"{embeds}:0", ours, "--sampler", "ddim", "--steps", "3", "--quiet") == 0
    with Image.open(ours) as image:
        contract = json.loads(image.text["wan_lite.sampling_contract"])
        # As the host writes it with no page: inside the graph.
        graph = {"4": {"class_type": "WanLiteDDIMSampler", "_meta": {"wan_lite.sampling_contract": contract}}, "5": {}}
        save_png(torch.rand(8, 8, 3), hosts, {"prompt": graph})
        image.save(plain)
    capsys.readouterr()
    assert main(["inspect", str(ours), str(hosts), str(plain)]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert all(block.startswith("an image\n") for block in blocks)
    assert ["ddim, 3 steps, shift 1" in block for block in blocks] == [True, True, False]
    plain.write_bytes(b"no picture")
    assert main(["inspect", str(plain)]) == 2
    assert "plain.png: is not a readable PNG" in sentence(capsys)


def test_inspect_names_nan_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.bias"][:] = torch.nan
    save_file(tensors, weights)
    assert main(["inspect", str(folder)]) == 0
    assert "NaN or infinite numbers in 1 tensors, first conv_out.bias" in capsys.readouterr().out


def test_inspect_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, expected in ((tmp_path / "none", "there is no such file"), (tmp_path, "holds no weights")):
        assert main(["inspect", str(path)]) == 2
        assert expected in sentence(capsys)


def test_inspect_says_what_it_could_before_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", VAE, "nothing.safetensors"]) == 2
    said = capsys.readouterr()
    assert "a Wan VAE" in said.out and "nothing.safetensors: there is no such file" in said.err


def test_inspect_of_pictures_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "photo.png", format="JPEG")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("photo.png", "cut.png"):
        assert main(["inspect", str(tmp_path / name)]) == 2
        assert f"{name}: is not a readable PNG" in sentence(capsys)


def test_inspect_of_a_picture_with_strange_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = {"prompt": {"1": 7, "2": {"_meta": []}}, "wan_lite.sampling_contract": [1]}
    notes["wan_lite.contract_changes"] = {"steps": 7, "3": [], "4": {"cfg": {"used": 1}}}
    save_png(torch.zeros(2, 2, 3), tmp_path / "a.png", notes)
    assert main(["inspect", str(tmp_path / "a.png")]) == 0
    assert "prompt, wan_lite.contract_changes, wan_lite.sampling_contract" in capsys.readouterr().out


def test_inspect_shows_what_an_image_was_sampled_from(
    embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint(f"{embeds}:0", tmp_path / "a.png", "--sampler", "ddim", "--steps", "1", "--seed", "7", "--quiet") == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "a.png")]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert (facts["caption"], facts["seed"], facts["student"]) == (
        "a cat: red",
        "7",
        "student_4ch/diffusion_pytorch_model.safetensors",
    )


def test_a_damaged_file_does_not_hide_the_others_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        shutil.copy(VAE, tmp_path / f"{name}.safetensors")
    find = inspection._find_kind

    def fail_for_b(path: Path) -> str:
        if path.name == "b.safetensors":
            raise KeyError("F4")  # as a library does that does not know a type of tensors
        return find(path)

    monkeypatch.setattr(inspection, "_find_kind", fail_for_b)
    assert main(["inspect", str(tmp_path)]) == 0
    kinds = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert kinds == {
        "a.safetensors": "a Wan VAE",
        "b.safetensors": "cannot be read ('F4')",
        "c.safetensors": "a Wan VAE",
    }


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07" + "y" * 10_000
    save_file({evil: torch.zeros(1)}, tmp_path / "names.safetensors")
    save_text_embeds(tmp_path / "embeds.safetensors", [torch.ones(1, 4)], [evil])
    assert main(["inspect", *(str(tmp_path / f"{name}.safetensors") for name in ("names", "embeds"))]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and shown.count("\\x1b]0;owned") == 2
    assert max(map(len, shown.splitlines())) <= 450


def test_a_file_of_many_prompts_is_not_listed_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "many.safetensors"
    save_text_embeds(path, [torch.ones(1, 4)] * 300, [str(i) for i in range(300)])
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 110 and lines[-1] == "  ... and 202 more"
