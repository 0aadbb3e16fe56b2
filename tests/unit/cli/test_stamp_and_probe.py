"""``wan-lite stamp`` and ``wan-lite probe`` on the small vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from wan_lite.cli import main
from wan_lite.demo import demo_file
from wan_lite.models import load_student, load_wan_vae, read_contract
from wan_lite.models.student.network import StudentNetwork
from wan_lite.models.student.preview import PreviewColours

VECTORS = Path(__file__).parents[2] / "vectors"
VAE = str(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")
STUDENT = VECTORS / "student_4ch"
FLOW = "flow_unipc-20 shift 5"


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that an error leaves."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


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
    assert capsys.readouterr().err == ""  # no bar where standard error is not a terminal
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["levels.png"]
    assert main([*arguments, "--candidate", "nope"]) == 2
    assert "contract is 'nope'; known presets are" in sentence(capsys)


def test_a_student_that_has_a_contract_as_good_is_not_stamped_again(
    folder: Path, embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stamp", str(folder), "--contract", FLOW]) == 0
    arguments = ["probe", "--student", str(folder), "--embeds", f"{embeds}:0", "--batch", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--candidate", FLOW]) == 0
    shown = capsys.readouterr().out
    assert "1. the student's own contract: score" in shown
    assert "Nothing to keep: the student's own contract fits as well as any." in shown


def test_nothing_is_recommended_where_every_candidate_is_nan(
    embeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = StudentNetwork.forward
    monkeypatch.setattr(StudentNetwork, "forward", lambda *given: forward(*given) * torch.nan)
    arguments = ["probe", "--student", str(STUDENT), "--embeds", f"{embeds}:0", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--candidate", FLOW, "--batch", "1"]) == 0
    shown = capsys.readouterr().out
    assert "Every candidate ran off to infinity" in shown
    assert "Nothing to keep" in shown and "wan-lite stamp" not in shown


def test_stamp_writes_the_names_of_a_worlds_actions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = tmp_path / "world.safetensors"
    shutil.copyfile(demo_file("world"), world)
    assert main(["stamp", str(world), "--action-names", "wait,west,east,wide", "--replace"]) == 0
    assert "1 west" in capsys.readouterr().out
    assert main(["inspect", str(world)]) == 0
    assert "0 wait, 1 west, 2 east, 3 wide" in capsys.readouterr().out
    assert main(["stamp", str(world), "--action-names", "a,b,c,d"]) == 2
    assert "--replace" in sentence(capsys)


def test_preview_colours_are_fitted_to_the_vae_and_only_the_header_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For other patches at random they are nearer than the demo's own, which were fitted to the demo's images."""
    file, vae = tmp_path / "student.safetensors", demo_file("vae")
    shutil.copyfile(demo_file("student_flow"), file)
    own, before = load_student(file).preview, load_file(file)
    assert main(["stamp", str(file), "--preview", str(vae)]) == 2
    assert "--replace" in sentence(capsys)
    assert main(["stamp", str(file), "--preview", str(vae), "--replace"]) == 0
    fitted = load_student(file).preview
    assert fitted is not None and own is not None and fitted != own
    assert all(torch.equal(value, before[name]) for name, value in load_file(file).items())
    patches = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pixels = functional.interpolate(patches, size=64, mode="nearest")
    student = load_student(file)
    latents = student.to_vae_latent(student.from_vae_latent(load_wan_vae(vae).encode(pixels[:, :, None])[:, :, 0]))
    seen = functional.interpolate(pixels, size=latents.shape[-2:], mode="area")

    def miss(colours: PreviewColours) -> float:
        shown = torch.einsum("bchw, ck -> bkhw", latents, torch.tensor(colours.factors))
        return float((shown + torch.tensor(colours.bias)[:, None, None] - seen).square().mean())

    assert miss(fitted) < 0.8 * miss(own)
