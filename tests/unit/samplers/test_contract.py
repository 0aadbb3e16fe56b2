"""The sampling contract: its record, where it is read from, comparing, and stamping a file."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from wan_lite.models import read_contract, stamp
from wan_lite.samplers import (
    DDIM,
    PRESETS,
    ContractError,
    FlowDPMpp,
    FlowUniPC,
    Prediction,
    SamplingContract,
    compare,
    ddim_schedule,
    dpmpp_schedule,
    flow_schedule,
    sample,
)
from wan_lite.samplers.contract import CONTRACT_KEY

DDIM10 = PRESETS["ddim-10 training preview"]
FLOW20 = PRESETS["flow_unipc-20 shift 5"]
FULL = SamplingContract(
    "flow_unipc", "velocity", 20, 5.0, 1.0, latent=(4, 64, 64), output_projection=True, source="declared"
)


# The record ----------------------------------------------------------------------------------------------------------


def test_presets_have_the_published_names_and_are_assumed() -> None:
    assert list(PRESETS) == [
        "ddim-10 training preview",
        "ddim-20 run_inference",
        "flow_unipc-20 shift 5",
        "flow_unipc-40 shift 12 (teacher A14B)",
    ]
    assert {preset.source for preset in PRESETS.values()} == {"assumed"}


@pytest.mark.parametrize("contract", [*PRESETS.values(), FULL])
def test_json_round_trip(contract: SamplingContract) -> None:
    assert SamplingContract.from_json(contract.to_json()) == contract


def test_json_names_the_parts_of_the_latent() -> None:
    assert json.loads(FULL.to_json())["latent"] == {"channels": 4, "height": 64, "width": 64}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is list, not an object"),
        ('{"version": 3, "solver": "ddim", "prediction": "epsilon"}', "version is 3.*reads 1 and 2; update Wan Lite"),
        ('{"version": "2", "solver": "ddim", "prediction": "epsilon"}', "version is '2'.*stamp the checkpoint again"),
        ('{"version": true, "solver": "ddim", "prediction": "epsilon"}', "version is True.*stamp the checkpoint again"),
        ('{"solver": "ddim", "prediction": "epsilon"}', "version is None.*stamp the checkpoint again"),
        ('{"version": 1, "solver": "ddim"}', r"has no \['prediction'\]"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "eta": 1}', r"unknown fields \['eta'\]"),
        ('{"version": 1, "solver": "euler", "prediction": "epsilon"}', "solver is 'euler'; allowed: 'ddim'"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "steps": 0}', "steps is 0"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "shift": -1}', "shift is -1"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "shift": "5"}', "shift is '5'"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "latent": [4, 64]}', r"latent is \[4, 64\]"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "vae": "sdxl"}', "vae is 'sdxl'"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "num_train_timesteps": 100}', "allowed: 1000"),
        ('{"version": 1, "solver": "flow_unipc", "prediction": "epsilon"}', "set solver to 'ddim' or prediction"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "steps": 1000000000000}', "1 to 10000"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "shift": 1%s}' % ("0" * 400), "above 0 up to 1e"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "cfg": NaN}', "cfg is nan"),
        ('{"version": 1, "solver": "ddim", "prediction": "epsilon", "latent": [4, -1, 99999999]}', "1 to 65536"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_bad_record_is_one_sentence_with_the_file(text: str, message: str) -> None:
    with pytest.raises(ContractError, match=f"student.json: .*{message}") as raised:
        SamplingContract.from_json(text, origin="student.json")
    assert "\n" not in str(raised.value)


def test_schedule_and_solver_are_the_named_ones() -> None:
    assert torch.equal(DDIM10.schedule().sigmas, ddim_schedule(10, shift=1.0).sigmas)
    assert torch.equal(FLOW20.schedule().sigmas, flow_schedule(20, shift=5.0).sigmas)
    assert torch.equal(FLOW20.schedule(denoise=0.5).sigmas, flow_schedule(20, shift=5.0, denoise=0.5).sigmas)
    assert (DDIM10.make_solver(), FLOW20.make_solver()) == (DDIM(), FlowUniPC())
    dpmpp = SamplingContract("flow_dpmpp", "velocity", 10, 5.0)
    assert torch.equal(dpmpp.schedule().sigmas, dpmpp_schedule(10, shift=5.0).sigmas)
    assert dpmpp.make_solver() == FlowDPMpp()
    euler = SamplingContract("ddim", "velocity", 10, 5.0)
    assert torch.equal(euler.schedule().sigmas, flow_schedule(10, shift=5.0).sigmas)
    for contract in (*PRESETS.values(), dpmpp, euler):
        noise = torch.zeros(1, 2)
        run = sample(
            lambda x, t: 0 * x, noise, contract.schedule(), contract.make_solver(), prediction=contract.prediction
        )
        assert run.shape == noise.shape
    assert Prediction(FLOW20.prediction) is Prediction.VELOCITY


# Comparing -----------------------------------------------------------------------------------------------------------


def test_a_contract_agrees_with_itself_and_with_free_choices() -> None:
    assert compare(FULL, FULL) == []
    assert compare(FULL, replace(FULL, steps=8, source="assumed")) == []
    assert compare(FULL, replace(FULL, latent=None)) == []


@pytest.mark.parametrize(
    ("changes", "field", "values"),
    [
        ({"latent": (4, 128, 64)}, "latent", ("4x64x64", "4x128x64")),
        ({"latent": (16, 64, 64)}, "latent", ("4x64x64", "16x64x64")),
        ({"cfg": 7.0}, "cfg", (1.0, 7.0)),
    ],
)
def test_latent_size_and_guidance_belong_to_the_contract(
    changes: dict[str, Any], field: str, values: tuple[object, object]
) -> None:
    (found,) = compare(FULL, replace(FULL, **changes))
    assert (found.field, found.declared, found.requested) == (field, *values)


def test_every_mismatch_names_both_values_and_a_remedy() -> None:
    asked = replace(DDIM10, vae="wan2.2", latent=(16, 64, 64), shift=3.0)
    found = {mismatch.field: mismatch for mismatch in compare(FULL, asked)}
    assert set(found) == {"solver", "prediction", "shift", "vae", "output_projection", "latent"}
    assert str(found["shift"]) == (
        "shift: the checkpoint's contract says 5.0, but 3.0 was asked for. "
        "Set shift to 5.0, and take out any other node that shifts."
    )
    assert "says velocity, but epsilon was asked for" in str(found["prediction"])
    assert found["latent"].declared == "4x64x64"
    assert found["latent"].requested == "16x64x64"


# Reading -------------------------------------------------------------------------------------------------------------


def checkpoint(path: Path, contract: SamplingContract | None = None) -> Path:
    tensors = {"a": torch.arange(7.0), "b.weight": torch.ones(2, 3, dtype=torch.bfloat16)}
    metadata = {"format": "pt", "title": "été"}
    if contract is not None:
        metadata[CONTRACT_KEY] = contract.to_json()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)
    return path


def test_header_wins_over_sidecar_wins_over_scheduler_config(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    weights = checkpoint(folder / "diffusion_pytorch_model.safetensors", FULL)
    (folder / "sampling_contract.json").write_text(DDIM10.to_json())
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    )
    assert read_contract(folder) == read_contract(weights) == FULL
    checkpoint(weights)
    assert read_contract(folder) == read_contract(weights) == replace(DDIM10, source="sidecar")
    (folder / "sampling_contract.json").unlink()
    assert read_contract(folder) == SamplingContract("ddim", "velocity", shift=3.0, source="sidecar")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    assert read_contract(folder) is None


def test_a_single_file_has_a_sidecar_of_its_own_name_only(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "mine.safetensors")
    (tmp_path / "sampling_contract.json").write_text(DDIM10.to_json())  # of some other file in this folder
    assert read_contract(file) is None
    (tmp_path / "mine.sampling_contract.json").write_text(FLOW20.to_json())
    assert read_contract(file) == replace(FLOW20, source="sidecar")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "flow_shift": 3.0},
            ("flow_unipc", "velocity", 3.0),
        ),
        ({"_class_name": "FlowUniPCMultistepScheduler", "shift": 1}, ("flow_unipc", "velocity", 1.0)),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "flow_shift": 8},
            ("flow_dpmpp", "velocity", 8.0),
        ),
        ({"_class_name": "DDIMScheduler", "prediction_type": "epsilon"}, ("ddim", "epsilon", 1.0)),
    ],
)
def test_scheduler_configs(tmp_path: Path, config: dict, expected: tuple) -> None:
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    contract = read_contract(tmp_path)
    assert (contract.solver, contract.prediction, contract.shift) == expected
    assert contract.source == "sidecar"


def test_foreign_betas_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = {"_class_name": "DDPMScheduler", "prediction_type": "epsilon", "beta_schedule": "linear"}
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    read_contract(tmp_path)
    assert "betas are not used" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "is list, not a mapping"),
        (
            json.dumps({"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}),
            "'v_prediction' is not a sampling",
        ),
        (json.dumps({"_class_name": "UniPCMultistepScheduler", "prediction_type": "epsilon"}), "name a preset"),
        (
            json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}),
            "use_dynamic_shifting is on",
        ),
        (json.dumps({"_class_name": "DDIMScheduler", "num_train_timesteps": 100}), "num_train_timesteps is 100"),
        (json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": "three"}), "shift is 'three'"),
        (json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": None}), "shift is None"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_scheduler_configs_that_cannot_be_followed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "scheduler_config.json").write_text(text)
    with pytest.raises(ContractError, match=f"scheduler_config.json: .*{message}"):
        read_contract(tmp_path)


def test_a_sidecar_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "sampling_contract.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ContractError, match=r"sampling_contract.json: cannot be read as text"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32"}}',
        b'{"a": {"data_offsets": [0]}}',
        b'{"a": {"data_offsets": ["0", "4"]}}',
        b'{"__metadata__": ["a"]}',
        b'{"__metadata__": {"wan_lite.sampling_contract": 7}}',
        b"[" * 100_000,
    ],
)
def test_a_header_of_another_shape_is_refused(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "odd.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    for action in (lambda: stamp(file, FULL), lambda: read_contract(file)):
        with pytest.raises(ContractError, match=r"odd.safetensors: is not a complete safetensors file"):
            action()
    assert file.read_bytes()[8:] == header


# Stamping ------------------------------------------------------------------------------------------------------------


def tensor_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_stamp_changes_the_header_and_nothing_else(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "s.safetensors")
    os.chmod(file, 0o640)
    before = tensor_bytes(file)
    assert stamp(file, FULL) == file
    assert tensor_bytes(file) == before
    assert read_contract(file) == FULL
    assert file.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.safetensors"]
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        assert torch.equal(opened.get_tensor("a"), torch.arange(7.0))
        assert opened.get_tensor("b.weight").dtype == torch.bfloat16
    assert metadata["title"] == "été"
    assert metadata["modelspec.prediction_type"] == "velocity"
    assert int.from_bytes(file.read_bytes()[:8], "little") % 8 == 0


def test_stamp_twice_keeps_the_last_and_declares_it(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    file = checkpoint(folder / "diffusion_pytorch_model.safetensors")
    stamp(folder, FULL)
    assert stamp(folder, DDIM10) == file
    assert read_contract(folder) == replace(DDIM10, source="declared")


def test_stamp_writes_through_a_link(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "real" / "s.safetensors")
    link = tmp_path / "link.safetensors"
    link.symlink_to(file)
    stamp(link, FULL)
    assert link.is_symlink()
    assert read_contract(file) == FULL


def test_an_interrupted_stamp_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = checkpoint(tmp_path / "s.safetensors")
    before = file.read_bytes()

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stamp(file, FULL)
    assert file.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_stamp_refuses_what_is_no_complete_safetensors_file(tmp_path: Path) -> None:
    pickled = tmp_path / "model.pth"
    torch.save({}, pickled)
    with pytest.raises(ContractError, match=r"model.pth: is not a .safetensors file"):
        stamp(pickled, FULL)
    with pytest.raises(ContractError, match="holds none of diffusion_pytorch_model"):
        stamp(tmp_path, FULL)
    cut = checkpoint(tmp_path / "cut.safetensors")
    cut.write_bytes(cut.read_bytes()[:-3])
    with pytest.raises(ContractError, match=r"cut.safetensors: is not a complete safetensors file"):
        stamp(cut, FULL)
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    for action in (lambda: stamp(empty, FULL), lambda: read_contract(empty)):
        with pytest.raises(ContractError, match=r"empty.safetensors: is not a complete safetensors file"):
            action()
