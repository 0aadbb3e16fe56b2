"""The command line on the small vectors: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from wan_lite.cli import COMMANDS, main
from wan_lite.cli.sample import split_embeds
from wan_lite.models import read_contract
from wan_lite.models.text_embeds import save_text_embeds
from wan_lite.pipeline import generation
from wan_lite.pipeline.generation import save_png

VECTORS = Path(__file__).parents[2] / "vectors"
VAE = str(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")
STUDENT = VECTORS / "student_4ch"
FLOW = "flow_unipc-20 shift 5"


@pytest.fixture
def embeds(tmp_path: Path) -> str:
    text = load_file(STUDENT / "golden.safetensors")["text"]
    save_text_embeds(tmp_path / "prompts.safetensors", [text, text[:3] * 2], ["a cat: red", "a dog"])
    return str(tmp_path / "prompts.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STUDENT, tmp_path / "mine", ignore=shutil.ignore_patterns("golden*")))


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


# --- sample -----------------------------------------------------------------------------------------------------------


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


def test_there_is_a_progress_bar(embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(f"{embeds}:0", tmp_path / "a.png", "--sampler", "ddim", "--steps", "4") == 0
    assert "4/4" in capsys.readouterr().err


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


def test_a_prompt_needs_a_text_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sample", "--student", str(STUDENT), "--vae", VAE, "--sampler", "ddim", "--prompt", "a cat"]
    assert main(arguments) == 2
    assert "--prompt needs --text-encoder PATH" in sentence(capsys)


def test_names_of_prompts_may_hold_colons(embeds: str) -> None:
    assert split_embeds(embeds) == (Path(embeds), None)
    assert split_embeds(f"{embeds}:a cat: red") == (Path(embeds), "a cat: red")
    assert split_embeds("no/such:file") == (Path("no/such:file"), None)


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


# --- inspect and stamp ------------------------------------------------------------------------------------------------


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


def test_stamp_changes_only_the_header_and_asks_before_replacing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    before = load_file(weights)
    assert main(["stamp", str(folder), "--contract", FLOW, "--shift", "8"]) == 0
    contract = read_contract(folder)
    assert (contract.shift, contract.source, contract.latent, contract.output_projection) == (
        8.0,
        "declared",
        (4, 4, 4),
        True,
    )
    assert all(torch.equal(value, before[name]) for name, value in load_file(weights).items())
    capsys.readouterr()
    other = ["stamp", str(folder), "--contract", "ddim-20 run_inference"]
    assert main(other) == 2
    assert "has a contract already (flow_unipc, 20 steps, shift 8" in sentence(capsys)
    assert main([*other, "--replace"]) == 0
    assert read_contract(folder).solver == "ddim"


def test_stamp_takes_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "contract.json"
    file.write_text(json.dumps({"version": 1, "solver": "ddim", "prediction": "epsilon", "steps": 6}))
    assert main(["stamp", str(folder), "--contract-file", str(file), "--cfg", "1.5"]) == 0
    assert (read_contract(folder).steps, read_contract(folder).cfg) == (6, 1.5)
    for content, expected in ((b"{", "is not JSON"), (b"\xff\xfe", "cannot be read as text")):
        file.write_bytes(content)
        capsys.readouterr()
        assert main(["stamp", str(folder), "--contract-file", str(file)]) == 2
        assert expected in sentence(capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--contract", "nope"], "contract is 'nope'; known presets are"),
        (["--contract", FLOW, "--steps", "0"], "steps is 0"),
        (["--contract", FLOW, "--shift", "0"], "shift is 0"),
    ],
)
def test_stamp_refuses_nonsense(
    arguments: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    assert main(["stamp", str(folder), *arguments]) == 2
    assert expected in sentence(capsys)
    assert (folder / "diffusion_pytorch_model.safetensors").read_bytes() == before


def test_stamp_refuses_what_is_no_student(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stamp", VAE, "--contract", FLOW]) == 2
    assert "holds a Wan VAE, with no sizes of a student" in sentence(capsys)


# --- probe -----------------------------------------------------------------------------------------------------------


def test_probe_ranks_candidates_and_says_how_to_keep_the_best(
    embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["probe", "--student", str(STUDENT), "--embeds", f"{embeds}:0", "--batch", "2", "--quiet"]
    more = ["--vae", VAE, "--out", str(tmp_path / "out"), "--candidate", FLOW, "--candidate", "ddim-20 run_inference"]
    assert main([*arguments, *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The output looks like ")
    assert lines[1].startswith("1. ")
    assert lines[2].startswith("2. ")
    assert lines[3].startswith(f"To keep this with the checkpoint: wan-lite stamp {STUDENT} --contract '")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"grid.png", "levels.png"}


def test_probe_without_a_vae_draws_only_the_chart(
    embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["probe", "--student", str(STUDENT), "--embeds", f"{embeds}:0", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--candidate", FLOW, "--batch", "1"]) == 0
    assert "1/1" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["levels.png"]
    assert main([*arguments, "--candidate", "nope"]) == 2
    assert "contract is 'nope'; known presets are" in sentence(capsys)


# --- the frame --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_interrupting_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wan_lite.pipeline.inspection.inspect", interrupted)
    assert main(["inspect", "x"]) == 130
    assert sentence(capsys) == "wan-lite inspect: interrupted"


def test_help_is_quick_and_loads_no_torch() -> None:
    program = "import sys; sys.argv[0] = 'wan-lite'\nfrom wan_lite.cli import build_parser\n"
    program += "build_parser([]).format_help(); sys.exit('torch' in sys.modules)"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    assert time.perf_counter() - start < 5


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "wan_lite", "inspect", "none"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert shown.stderr == "wan-lite inspect: none: there is no such file; check the name and the folder.\n"


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


@pytest.mark.parametrize("error", [MemoryError("x"), RuntimeError("not enough memory: you tried to allocate 9 bytes")])
def test_a_lack_of_memory_is_a_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr("wan_lite.pipeline.inspection.inspect", fails)
    assert main(["inspect", "a"]) == 2
    assert "not enough memory" in sentence(capsys)


def test_other_faults_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("wan_lite.pipeline.inspection.inspect", fails)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["inspect", "a"])


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
    save_png(torch.zeros(2, 2, 3), tmp_path / "a.png", notes)
    assert main(["inspect", str(tmp_path / "a.png")]) == 0
    assert "prompt, wan_lite.sampling_contract" in capsys.readouterr().out
