"""``wan-lite sample`` on the small vectors: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from wan_lite.cli import main
from wan_lite.file_parts import split_name
from wan_lite.models.text_embeds import save_text_embeds
from wan_lite.pipeline import generation

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


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_vae_is_checked_once(embeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    monkeypatch.setattr(generation, "check_vae", lambda *pair: checked.append(pair))
    assert paint(embeds, tmp_path / "out", "--sampler", "ddim", "--steps", "1", "--batch", "2", "--quiet") == 0
    assert len(checked) == 1


@pytest.mark.parametrize("sampler", ["ddim", "flow-unipc"])
def test_a_picture_in_a_named_file(
    sampler: str, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.png"
    assert paint(f"{embeds}:1", out, "--sampler", sampler, "--steps", "3", "--seed", "5", "--quiet") == 0
    printed = capsys.readouterr()
    assert str(out) in printed.out
    assert f"contract: {sampler.replace('-', '_')}, 3 steps" in printed.out
    assert printed.err == ""
    assert pixels(out).shape == (32, 32, 3)
    with Image.open(out) as image:
        assert json.loads(image.text["wan_lite.seed"]) == 5
        assert json.loads(image.text["wan_lite.caption"]) == "a dog"
        assert json.loads(image.text["wan_lite.sampling_contract"])["steps"] == 3


def test_a_batch_of_all_prompts_into_a_folder(embeds: str, tmp_path: Path) -> None:
    arguments = ("--sampler", "flow-unipc", "--steps", "2", "--quiet")
    assert paint(embeds, tmp_path / "out", *arguments, "--seed", "8", "--batch", "2") == 0
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == [f"student_4ch_{i:05}.png" for i in (1, 2, 3, 4)]
    # The second picture of the second prompt is that prompt alone with the next seed.
    assert paint(f"{embeds}:a dog", tmp_path / "alone.png", *arguments, "--seed", "9") == 0
    assert np.array_equal(pixels(written[3]), pixels(tmp_path / "alone.png"))


def test_nothing_in_a_folder_is_overwritten(embeds: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert paint(f"{embeds}:0", tmp_path / "out", "--sampler", "ddim", "--steps", "1", "--quiet") == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_there_is_a_progress_bar_on_a_terminal_and_none_in_a_log(
    terminal: bool, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    assert paint(f"{embeds}:0", tmp_path / "a.png", "--sampler", "ddim", "--steps", "4") == 0
    assert ("4/4" in capsys.readouterr().err) == terminal


def test_size_and_guidance(embeds: str, tmp_path: Path) -> None:
    arguments = ("--sampler", "flow-unipc", "--steps", "2", "--size", "48x24", "--quiet")
    assert paint(f"{embeds}:0", tmp_path / "plain.png", *arguments) == 0
    assert paint(f"{embeds}:0", tmp_path / "guided.png", *arguments, "--cfg", "4", "--negative", "a dog") == 0
    assert pixels(tmp_path / "plain.png").shape == (24, 48, 3)
    assert not np.array_equal(pixels(tmp_path / "plain.png"), pixels(tmp_path / "guided.png"))


def test_a_stamped_student_needs_no_words_about_sampling(
    folder: Path, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint(f"{embeds}:0", tmp_path / "a.png", student=folder) == 2
    assert "says nothing about how to sample it; give --sampler" in sentence(capsys)
    assert main(["stamp", str(folder), "--contract", FLOW, "--steps", "3"]) == 0
    assert "flow_unipc, 3 steps, shift 5" in capsys.readouterr().out
    assert paint(f"{embeds}:0", tmp_path / "a.png", "--quiet", student=folder) == 0
    assert "(declared)" in capsys.readouterr().out
    assert paint(f"{embeds}:0", tmp_path / "b.png", "--sampler", "ddim", student=folder) == 2
    refused = sentence(capsys)
    assert "solver: the checkpoint's contract says flow_unipc, but ddim was asked for" in refused
    assert "--on-mismatch warn" in refused
    assert not (tmp_path / "b.png").exists()
    for choice in ("warn", "ignore"):
        arguments = ("--sampler", "ddim", "--steps", "2", "--on-mismatch", choice, "--quiet")
        assert paint(f"{embeds}:0", tmp_path / "b.png", *arguments, student=folder) == 0


def test_a_picture_of_another_size_or_guidance_does_not_claim_to_be_as_declared(
    folder: Path, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stamp", str(folder), "--contract", FLOW, "--steps", "2"]) == 0
    size, guidance = ("--size", "48x24"), ("--cfg", "4", "--negative", "a dog")
    for asked, field in ((size, "latent: "), (guidance, "cfg: ")):
        assert paint(f"{embeds}:0", tmp_path / "a.png", *asked, "--quiet", student=folder) == 2
        assert field in sentence(capsys)
    asked = (*size, *guidance, "--on-mismatch", "warn", "--quiet")
    assert paint(f"{embeds}:0", tmp_path / "a.png", *asked, student=folder) == 0
    with Image.open(tmp_path / "a.png") as image:
        texts = {key: json.loads(value) for key, value in image.text.items()}
    assert texts["wan_lite.sampling_contract"]["source"] == "assumed"
    changes = texts["wan_lite.contract_changes"]
    assert changes["cfg"] == {"contract": 1.0, "used": 4.0} and changes.keys() == {"cfg", "latent"}
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "a.png")]) == 0
    assert "cfg 4.0 instead of 1.0" in capsys.readouterr().out
    assert paint(f"{embeds}:0", tmp_path / "b.png", "--quiet", student=folder) == 0
    with Image.open(tmp_path / "b.png") as image:
        assert json.loads(image.text["wan_lite.sampling_contract"])["source"] == "declared"
        assert "wan_lite.contract_changes" not in image.text


def test_a_prompt_needs_a_text_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sample", "--student", str(STUDENT), "--vae", VAE, "--sampler", "ddim", "--prompt", "a cat"]
    assert main(arguments) == 2
    assert "--prompt needs --text-encoder PATH" in sentence(capsys)


def test_names_of_prompts_may_hold_colons(embeds: str) -> None:
    assert split_name(embeds) == (Path(embeds), None)
    assert split_name(f"{embeds}:a cat: red") == (Path(embeds), "a cat: red")
    assert split_name("no/such:file") == (Path("no/such:file"), None)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--steps", "0"], "steps is 0; allowed are whole numbers from 1"),
        (["--shift", "0"], "shift is 0.0; allowed are numbers above 0"),
        (["--shift", "-3"], "shift is -3.0"),
        (["--size", "33x33"], "both multiples of 8"),
        (["--batch", "0"], "batch is 0"),
        (["--cfg", "5"], "cfg is 5, which needs a negative text"),
        (["--seed", "-1"], "seed is -1"),
        (["--batch", "100000000000"], "batch is 100000000000; allowed are 1 to 10000"),
        (["--steps", "99999999999"], "steps is 99999999999; allowed are whole numbers from 1 to 10000"),
        (["--shift", "nan"], "shift is nan; allowed are numbers above 0"),
        (["--size", "800000x800000"], "whole numbers from 1 to 65536"),
        (["--contract", "best"], "preset is 'best'; known are 'ddim-10 training preview'"),
        (["--device", "warp"], "--device is 'warp', which this machine does not offer"),
    ],
)
def test_impossible_options(
    arguments: list[str], expected: str, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint(f"{embeds}:0", tmp_path / "a.png", "--sampler", "flow-unipc", "--quiet", *arguments) == 2
    assert expected in sentence(capsys)
    assert not (tmp_path / "a.png").exists()


def test_files_that_are_not_what_they_should_be(
    folder: Path, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flux, half = str(tmp_path / "flux_vae.safetensors"), str(tmp_path / "half.safetensors")
    lora = str(tmp_path / "lora.safetensors")
    save_file({"encoder.down.0.block.0.conv1.weight": torch.zeros(1)}, flux)
    save_file({"lora_unet_blocks_0.lora_down.weight": torch.zeros(1)}, lora)
    Path(half).write_bytes(Path(VAE).read_bytes()[:5000])
    wan22 = str(VECTORS / "wan_vae" / "wan22_tiny_official.safetensors")
    for vae, expected in (
        (flux, "flux_vae.safetensors: is not a Wan VAE: it looks like a VAE of Stable Diffusion or Flux"),
        (lora, "lora.safetensors: is not a Wan VAE: it looks like a LoRA"),
        (half, "half.safetensors: is not a complete safetensors file"),
        (wan22, "vae has 48 channels (wan2.2)"),
        (str(tmp_path / "none.safetensors"), "none.safetensors: there is no such file"),
    ):
        assert paint(f"{embeds}:0", tmp_path / "a.png", "--sampler", "ddim", vae=vae) == 2
        assert expected in sentence(capsys)
    for text, expected in (
        (VAE, "not text embeddings"),
        (
            f"{embeds}:7",
            "has no prompt '7'; it holds 2: 'a cat: red', 'a dog'. Give a caption, or a number from 0 to 1",
        ),
        (str(tmp_path / "none.safetensors"), "there is no such file"),
    ):
        assert paint(text, tmp_path / "a.png", "--sampler", "ddim") == 2
        assert expected in sentence(capsys)
    for student, expected in (
        (Path(flux), "flux_vae.safetensors: holds a VAE of Stable Diffusion or Flux"),
        (tmp_path, "has no config.json"),
    ):
        assert paint(f"{embeds}:0", tmp_path / "a.png", "--sampler", "ddim", student=student) == 2
        assert expected in sentence(capsys)
    (folder / "output_proj.safetensors").unlink()
    assert paint(f"{embeds}:0", tmp_path / "a.png", "--sampler", "ddim", student=folder) == 2
    assert "output_proj.safetensors must lie beside the weights" in sentence(capsys)


def test_text_of_another_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_text_embeds(tmp_path / "clip.safetensors", [torch.randn(4, 77)])
    assert paint(str(tmp_path / "clip.safetensors"), tmp_path / "a.png", "--sampler", "ddim", "--quiet") == 2
    assert "text has embeddings of width 77, but this student was trained with 24" in sentence(capsys)


def test_traceback_is_there_for_who_asks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        main(["--traceback", "inspect", str(tmp_path / "none")])


@pytest.mark.parametrize("out", ["file", "file/x", "file/x.png"])
def test_an_impossible_place_is_said_before_the_work(
    out: str, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("wan_lite.pipeline.generation.sample_latents", lambda *_, **__: pytest.fail("it was painted"))
    assert paint(f"{embeds}:0", tmp_path / out, "--sampler", "ddim", "--quiet") == 2
    said = sentence(capsys)
    assert str(tmp_path / "file") in said and "Not a directory" in said
    assert (tmp_path / "file").stat().st_size == 0


def test_huge_seeds_and_names_in_any_script(embeds: str, tmp_path: Path) -> None:
    out = tmp_path / "Ordner ü" / "画.png"
    assert paint(f"{embeds}:0", out, "--sampler", "ddim", "--steps", "1", "--seed", str(10**40), "--quiet") == 0
    assert [path.name for path in out.parent.iterdir()] == ["画.png"]
