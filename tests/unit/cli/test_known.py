"""``wan-lite known``, and ``wan-lite stamp`` on LoRAs and checkpoints of other projects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wan_lite.cli import main
from wan_lite.models import read_contract
from wan_lite.models.known_students import USER_FILE_VARIABLE, load_known_students
from wan_lite.samplers import SamplingContract
from wan_lite.samplers.contract import CONTRACT_KEY

LORA = {"diffusion_model.blocks.0.q.lora_down.weight": torch.ones(2, 3)}


@pytest.fixture(autouse=True)
def no_file_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a developer's own data file out of the tests."""
    monkeypatch.delenv(USER_FILE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that an error leaves."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def tensor_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


# known ---------------------------------------------------------------------------------------------------------------


def test_known_lists_every_student(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["known"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(load_known_students().students)
    assert any("[1000, 757, 522]" in line for line in lines)


def test_known_says_what_it_knows_of_a_student_or_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["known", "wan2.2-lightning-i2v"]) == 0
    by_id = capsys.readouterr().out
    for part in ("1 0.9375 0.8333333 0.625 0", "[1000, 937.5, 833.333, 625]", "Euler", "Wan2.2-Lightning@92efeb4"):
        assert part in by_id
    assert main(["known", "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors"]) == 0
    assert capsys.readouterr().out == by_id
    assert main(["known", "longcat-video"]) == 0
    assert "not in core" in capsys.readouterr().out


def test_known_as_json_is_a_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["known", "rcm-t2v", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    contract = load_known_students().students["rcm-t2v"].contract()
    assert SamplingContract.from_json(json.dumps(entry["contract"])) == contract


@pytest.mark.parametrize(("name", "expected"), [("rcm", "Near to it: rcm-t2v"), ("Wuli-Qwen-Image-2512-Turbo", "Wuli")])
def test_known_of_an_unknown_name(name: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["known", name]) == 2
    assert expected in sentence(capsys)


def test_known_prints_two_lists_of_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("chronoedit_distill_lora.safetensors", "anima-turbo-lora-v0.2.safetensors", "vae.safetensors"):
        (tmp_path / name).touch()
    assert main(["known", "--names", str(tmp_path)]) == 0
    found, others = capsys.readouterr().out.split("others (2):")
    assert "chronoedit_distill_lora.safetensors  chronoedit" in found
    assert "anima" not in found and "nothing is published" in others


def test_known_takes_ones_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"format": 1, "students": [{"id": "rcm-t2v", "off": True}]}), "utf-8")
    assert main(["known", "--file", str(own)]) == 0
    assert "rcm-t2v " not in capsys.readouterr().out
    own.write_text("{", "utf-8")
    assert main(["known", "--file", str(own)]) == 2
    assert "own.json" in sentence(capsys)


# stamp ---------------------------------------------------------------------------------------------------------------


def test_stamp_a_lora_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors"
    save_file(LORA, path, {"format": "pt"})
    before = tensor_bytes(path)
    assert main(["stamp", str(path), "--known"]) == 0
    contract = read_contract(path)
    assert contract is not None
    assert (contract.solver, contract.role, contract.source) == ("flow_euler", "high", "declared")
    assert set(header(path)) == {"format", CONTRACT_KEY}
    assert tensor_bytes(path) == before and torch.equal(load_file(path)[next(iter(LORA))], torch.ones(2, 3))


def test_stamp_another_of_its_contracts_and_replace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "any.safetensors"
    save_file(LORA, path)
    command = ["stamp", str(path), "--known", "lightx2v-wan2.1"]
    assert main([*command, "--alternative", "1"]) == 0
    contract = read_contract(path)
    assert contract is not None and contract.solver == "flow_euler" and contract.alternatives == ()
    assert main(command) == 2
    assert "has a contract already (flow_euler" in sentence(capsys)
    assert main([*command, "--replace"]) == 0
    contract = read_contract(path)
    assert contract is not None and contract.solver == "renoise"
    assert [other.solver for other in contract.alternatives] == ["flow_euler"]
    assert main([*command, "--alternative", "2", "--replace"]) == 2
    assert "alternative is 2" in sentence(capsys)


def test_stamp_a_causal_checkpoint_so_that_core_chooses_its_network(tmp_path: Path) -> None:
    path = tmp_path / "self_forcing_dmd.safetensors"
    config = {"transformer": {"sink": 3}, "other": [1]}
    save_file({"blocks.0.self_attn.q.weight": torch.zeros(2)}, path, {"config": json.dumps(config)})
    assert main(["stamp", str(path), "--known"]) == 0
    assert json.loads(header(path)["config"]) == {"transformer": {"sink": 3, "causal_ar": True}, "other": [1]}
    lora = tmp_path / "Wan2_1_self_forcing_dmd_1_3B_lora_rank_32_fp16.safetensors"
    save_file(LORA, lora)
    assert main(["stamp", str(lora), "--known"]) == 0
    assert "config" not in header(lora)


def test_stamp_a_lora_with_a_contract_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = tmp_path / "mine.safetensors", tmp_path / "contract.json"
    save_file(LORA, path)
    contract = SamplingContract("flow_euler", "velocity", levels=(1.0, 0.5), timestep_cast="float")  # type: ignore[arg-type]
    file.write_text(contract.to_json(), "utf-8")
    assert main(["stamp", str(path), "--contract-file", str(file)]) == 0
    assert header(path).keys() == {CONTRACT_KEY}
    assert main(["stamp", str(path), "--known", "lightx2v-wan2.1"]) == 2
    assert "has a contract already" in sentence(capsys)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("model.safetensors", ["--known"], "nothing says how to sample it"),
        ("causal_forcing.safetensors", ["--known"], "several that differ"),
        ("LongCat_distill_lora_alpha64_bf16.safetensors", ["--known"], "network of its own"),
        ("x.safetensors", ["--known", "y"], "known is 'y'"),
        ("self_forcing_dmd.pt", ["--known"], "is not a .safetensors file"),
        ("x.safetensors", ["--known", "rcm-t2v", "--shift", "5"], "--shift is given with --known"),
    ],
)
def test_stamp_says_what_is_wrong(
    name: str, options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    save_file(LORA, path)
    before = path.read_bytes()
    assert main(["stamp", str(path), *options]) == 2
    assert expected in sentence(capsys)
    assert path.read_bytes() == before


def test_stamp_a_header_whose_config_is_no_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "self_forcing_dmd.safetensors"
    save_file({"x": torch.zeros(2)}, path, {"config": "[1]"})
    assert main(["stamp", str(path), "--known"]) == 2
    assert "config" in sentence(capsys)
