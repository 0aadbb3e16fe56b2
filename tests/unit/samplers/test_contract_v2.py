"""The sampling contract's second version: what it can say, what it refuses, and that the first stays as it is."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wan_lite.samplers import (
    PRESETS,
    Causal,
    ContractError,
    FlowEuler,
    Prediction,
    Renoise,
    SamplingContract,
    compare,
    few_step_schedule,
    flow_schedule,
    format_contract,
    trigflow_schedule,
)
from wan_lite.samplers.mismatch import check_experts, check_few_steps

FOUR = [1000, 750, 500, 250]
LIGHTNING: dict[str, Any] = {
    "version": 2, "solver": "flow_euler", "prediction": "velocity", "shift": 5.0, "denoising_steps": FOUR, "warp": True,
    "timestep_cast": "float", "boundary": 0.875, "frames": 81, "lora_strength": 1.0,
}  # fmt: skip
CAUSVID: dict[str, Any] = {
    "version": 2, "solver": "renoise", "prediction": "velocity", "shift": 8.0, "denoising_steps": [1000, 757, 522],
    "warp": False, "timestep_cast": "table", "causal": {"block": 3, "context_timestep": 0},
}  # fmt: skip
RCM: dict[str, Any] = {
    "version": 2, "solver": "renoise", "prediction": "velocity", "steps": 4, "sigma_max": 80.0, "timestep_cast": "bf16",
}  # fmt: skip
CHRONOEDIT: dict[str, Any] = {
    "version": 2, "solver": "flow_unipc", "prediction": "velocity", "levels": [0.999999, 0.5], "timestep_cast": "table",
    "timesteps": [999, 937.5],
}  # fmt: skip
LIGHTX2V: dict[str, Any] = {
    **{key: value for key, value in LIGHTNING.items() if key != "boundary"}, "solver": "renoise",
    "alternatives": [{"solver": "flow_euler", "prediction": "velocity", "shift": 5.0, "denoising_steps": FOUR,
                      "timestep_cast": "float", "frames": 81, "lora_strength": 1.0}],
}  # fmt: skip
PREVIEW: dict[str, Any] = {
    "version": 2, "solver": "ddim", "prediction": "epsilon", "steps": 10, "text_pool": "mean_padded", "text_length": 25,
}  # fmt: skip
ALL = {"lightning": LIGHTNING, "causvid": CAUSVID, "rcm": RCM, "chronoedit": CHRONOEDIT, "lightx2v": LIGHTX2V,
       "preview": PREVIEW}  # fmt: skip


def read(content: dict[str, Any]) -> SamplingContract:
    return SamplingContract.from_json(json.dumps(content), origin="student.json")


# Files ---------------------------------------------------------------------------------------------------------------

VERSION_1 = {
    "ddim-10 training preview": '{"solver": "ddim", "prediction": "epsilon", "steps": 10, "shift": 1.0, "cfg": 1.0, '
    '"num_train_timesteps": 1000, "timestep_cast": "int64_trunc", "latent": null, "vae": "wan2.1", '
    '"text_pool": "mean_unpadded", "output_projection": false, "source": "assumed", "version": 1}',
    "flow_unipc-20 shift 5": '{"solver": "flow_unipc", "prediction": "velocity", "steps": 20, "shift": 5.0, '
    '"cfg": 1.0, "num_train_timesteps": 1000, "timestep_cast": "int64_trunc", "latent": null, "vae": "wan2.1", '
    '"text_pool": "mean_unpadded", "output_projection": false, "source": "assumed", "version": 1}',
}


@pytest.mark.parametrize("name", VERSION_1)
def test_what_version_1_can_say_is_written_in_version_1_byte_for_byte(name: str) -> None:
    assert PRESETS[name].to_json() == VERSION_1[name]
    assert SamplingContract.from_json(VERSION_1[name]) == PRESETS[name]


@pytest.mark.parametrize("name", ALL)
def test_round_trip(name: str) -> None:
    contract = read(ALL[name])
    written = json.loads(contract.to_json())
    assert written["version"] == contract.version == 2
    assert read(written) == contract
    assert ALL[name].items() <= {**written, "alternatives": ALL[name].get("alternatives")}.items()


def test_a_file_of_version_2_that_needs_no_version_2_is_version_1() -> None:
    contract = read({"version": 2, "solver": "flow_unipc", "prediction": "velocity", "steps": 20, "shift": 5.0})
    assert contract == PRESETS["flow_unipc-20 shift 5"]
    assert json.loads(contract.to_json())["version"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 81}, r"unknown fields \['frames'\]; version 1 has"),
        ({"solver": "renoise"}, "says version 1, but has words of version 2"),
        ({"timestep_cast": "float"}, "says version 1, but has words of version 2"),
    ],
)
def test_words_of_version_2_in_a_file_of_version_1(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=f"^student.json: .*{message}"):
        read({"version": 1, "solver": "flow_unipc", "prediction": "velocity", **changes})


def test_null_and_left_out_are_the_same() -> None:
    assert read({**RCM, "levels": None, "denoising_steps": None, "frames": None}) == read(RCM)


def test_steps_follow_from_the_list() -> None:
    assert [read(content).steps for content in (LIGHTNING, CAUSVID, CHRONOEDIT)] == [4, 3, 2]
    assert SamplingContract("flow_unipc", Prediction.VELOCITY).steps == 20


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (LIGHTNING, {"denoising_steps": [250, 500]}, "denoising_steps is .250, 500.; give whole numbers from 1000 to 0"),
    (LIGHTNING, {"denoising_steps": [1000, 1000]}, "each smaller than the one before"),
    (LIGHTNING, {"denoising_steps": 4}, "denoising_steps is 4; give a list"),
    (LIGHTNING, {"denoising_steps": []}, "denoising_steps is an empty list"),
    (LIGHTNING, {"steps": 8}, "steps is 8, but denoising_steps has 4 entries"),
    (LIGHTNING, {"sigma_max": 80.0}, "denoising_steps and sigma_max are both given"),
    (LIGHTNING, {"prediction": "epsilon", "solver": "ddim"}, "denoising_steps is .*flow process.*'epsilon'"),
    (LIGHTNING, {"timestep_cast": "table"}, "timestep_cast is 'table', but no timesteps are given"),
    (LIGHTNING, {"timestep_cast": "int32"}, "timestep_cast is 'int32'; allowed: 'int64_trunc', 'float'"),
    (LIGHTNING, {"timesteps": [1000, 937, 833, 625]}, "timestep_cast is 'float'; set it to 'table'"),
    (LIGHTNING, {"boundary": 0.5}, r"boundary is 0.5, outside the timesteps .*between 0.625 and 1"),
    (LIGHTNING, {"boundary": 1.5}, "boundary is 1.5; allowed are numbers above 0 up to 1"),
    (LIGHTNING, {"boundary": "high"}, "boundary is 'high'"),
    (LIGHTNING, {"boundary_step": 2}, "boundary is 0.875 and boundary_step is 2; give one"),
    (LIGHTNING, {"boundary": None, "boundary_step": 4}, "boundary_step is 4; .*from 1 to 3 of 4 steps"),
    (LIGHTNING, {"boundary": None, "boundary_step": 1.5}, "boundary_step is 1.5"),
    (LIGHTNING, {"role": "middle"}, "role is 'middle'; allowed: 'high', 'low', 'both'"),
    (LIGHTNING, {"frames": 0}, "frames is 0; allowed are whole numbers from 1"),
    (LIGHTNING, {"lora_strength": float("nan")}, "lora_strength is nan"),
    (LIGHTNING, {"lora_strength": 0}, "lora_strength is 0; allowed are numbers above 0"),
    (LIGHTNING, {"warp": "yes"}, "warp is 'yes'; allowed: True, False"),
    (RCM, {"warp": False}, "warp is False, but there are no denoising_steps"),
    (RCM, {"steps": 5}, "steps is 5; a TrigFlow student has from 1 to 4 steps"),
    (RCM, {"sigma_max": 2}, "sigma_max is 2; allowed are numbers above 14"),
    (RCM, {"sigma_max": "80"}, "sigma_max is '80'"),
    (CHRONOEDIT, {"levels": [0.5, 0.9]}, "levels is .*each must be smaller|levels is .*from 1 or below"),
    (CHRONOEDIT, {"levels": [0.9, 0.9]}, "each must be smaller than the one before"),
    (CHRONOEDIT, {"levels": [1.1, 0.9]}, "levels is .*from 1 or below down"),
    (CHRONOEDIT, {"levels": [1.0, 0.0]}, "levels is .*above 0 .the final 0 is understood"),
    (CHRONOEDIT, {"levels": ["1", 0.5]}, "levels is"),
    (CHRONOEDIT, {"levels": []}, "levels is an empty list"),
    (CHRONOEDIT, {"timesteps": [999]}, "timesteps has 1 entries, but there are 2 steps"),
    (CHRONOEDIT, {"timesteps": [400, 999]}, "timesteps is .*from 1000 down to 0"),
    (CHRONOEDIT, {"timesteps": [1001, 999]}, "timesteps is .*from 1000 down to 0"),
    (CHRONOEDIT, {"timesteps": "999"}, "timesteps is '999'; give a list"),
    (CAUSVID, {"causal": {"block": 0}}, "causal.block is 0"),
    (CAUSVID, {"causal": {"block": 3, "sink": 1}}, r"causal has \['block', 'sink'\]; give"),
    (CAUSVID, {"causal": {"context_timestep": 0}}, "causal has"),
    (CAUSVID, {"causal": {"block": 3, "context_timestep": -1}}, "causal.context_timestep is -1"),
    (CAUSVID, {"causal": 3}, "causal is 3; give an object"),
    (LIGHTX2V, {"alternatives": {"solver": "ddim"}}, "alternatives is not a list of objects"),
    (LIGHTX2V, {"alternatives": [{"solver": "euler", "prediction": "velocity"}]}, "solver is 'euler'"),
    (LIGHTX2V, {"alternatives": [LIGHTX2V]}, "unknown fields|without alternatives"),
    (PREVIEW, {"text_length": None}, "text_pool is 'mean_padded' and text_length is None"),
    (PREVIEW, {"text_pool": "mean_unpadded"}, "text_pool is 'mean_unpadded' and text_length is 25"),
    (PREVIEW, {"text_length": 0}, "text_length is 0"),
    (PREVIEW, {"timestep_cast": "float"}, "timestep_cast is 'float', which belongs to the flow process"),
    (LIGHTNING, {"vae": "sd"}, "vae is 'sd'; allowed: 'wan2.1', 'wan2.2', 'qwen-image'"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "changes", "message"), BAD, ids=range(len(BAD)))
def test_a_bad_record_is_one_sentence(base: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=f"^student.json: .*({message})") as raised:
        read({**base, **changes})
    assert "\n" not in str(raised.value)


def test_the_documented_contracts_are_contracts() -> None:
    page = (Path(__file__).parents[3] / "docs" / "contract.md").read_text("utf-8")
    examples = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 6
    contracts = [SamplingContract.from_json(example) for example in examples]
    assert [contract.version for contract in contracts] == [json.loads(example)["version"] for example in examples]
    assert {field.name for field in fields(SamplingContract)} <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


# What follows from it ------------------------------------------------------------------------------------------------


def test_schedules_are_those_of_the_rules() -> None:
    cases = {
        "lightning": few_step_schedule(FOUR, shift=5.0),
        "causvid": few_step_schedule([1000, 757, 522], shift=8.0, warp=False, timestep_cast="table"),
        "rcm": trigflow_schedule(4, sigma_max=80.0),
    }
    for name, expected in cases.items():
        schedule = read(ALL[name]).schedule()
        assert torch.equal(schedule.sigmas, expected.sigmas)
        assert schedule.timesteps is not None and torch.equal(schedule.timesteps, expected.timesteps)
        assert (schedule.scales_noise, schedule.first_step) == (expected.scales_noise, 0)
    chronoedit = read(CHRONOEDIT).schedule()
    assert chronoedit.sigma_values == (0.999999, 0.5, 0.0)
    assert chronoedit.timesteps is not None and chronoedit.timesteps.tolist() == [999.0, 937.5]


@pytest.mark.parametrize(
    ("cast", "fed"), [("float", [1000.0, 937.5, 833.3333129882812, 625.0]), ("bf16", [1000, 936, 832, 624])]
)
def test_another_cast_of_a_plain_schedule(cast: str, fed: list[float]) -> None:
    contract = SamplingContract("flow_euler", Prediction.VELOCITY, steps=4, shift=5.0, timestep_cast=cast)
    schedule = contract.schedule()
    assert schedule.timesteps is not None and schedule.timesteps.tolist() == fed
    assert schedule.sigma_values == pytest.approx((1.0, 0.9375, 5 / 6, 0.625, 0.0), abs=1e-7)


def test_image_to_image_keeps_trained_sigmas() -> None:
    part = read(LIGHTNING).schedule(denoise=0.5)
    assert part.sigma_values == pytest.approx((5 / 6, 0.625, 0.0), abs=1e-7)
    assert part.first_step == 2


def test_solvers() -> None:
    assert read(LIGHTNING).make_solver() == FlowEuler()
    assert read(CAUSVID).make_solver(7) == Renoise(seed=7)


@pytest.mark.parametrize(
    ("changes", "boundary"),
    [({}, 0.875), ({"boundary": None, "boundary_step": 2}, 0.88541666), ({"boundary": None}, None)],
)
def test_the_boundary_between_experts(changes: dict[str, Any], boundary: float | None) -> None:
    found = read({**LIGHTNING, **changes}).expert_boundary
    assert found == (boundary if boundary is None else pytest.approx(boundary, abs=1e-6))


def test_another_number_of_steps() -> None:
    eight = read({**LIGHTNING, "boundary": None, "boundary_step": 2}).with_steps(8)
    assert eight.denoising_steps == (1000, 875, 750, 625, 500, 375, 250, 125)
    assert eight.expert_boundary == pytest.approx(0.88541666)
    assert read(RCM).with_steps(2).schedule().steps == 2
    assert read(LIGHTNING).with_steps(4) == read(LIGHTNING)
    assert PRESETS["flow_unipc-20 shift 5"].with_steps(8).schedule().steps == 8
    for contract, steps in ((read(CAUSVID), 4), (read(CHRONOEDIT), 4), (read(RCM), 5), (read(LIGHTNING), 0)):
        with pytest.raises(ContractError, match=f"steps is {steps}"):
            contract.with_steps(steps)


def test_a_plain_schedule_instead_of_the_rule() -> None:
    asked = {"solver": "flow_unipc", "prediction": "velocity", "steps": 20, "shift": 5.0}
    for content in (LIGHTNING, CAUSVID, RCM, CHRONOEDIT, LIGHTX2V):
        plain = read(content).with_plain_schedule(**asked)
        assert torch.equal(plain.schedule().sigmas, flow_schedule(20, shift=5.0).sigmas)
        assert compare(read(content), plain)[0].field in ("solver", "timesteps")
    declared = PRESETS["flow_unipc-20 shift 5"]
    assert declared.with_plain_schedule(steps=8) == replace(declared, steps=8)


def test_in_one_line() -> None:
    assert format_contract(read(LIGHTNING)) == (
        "flow_euler, 4 steps at timesteps [1000, 937.5, 833.333, 625], cfg 1, output read as velocity, latent of "
        "unknown size, VAE wan2.1, experts change at timestep 875, 81 frames, LoRA at strength 1 (assumed)"
    )
    assert ", or flow_euler (" in format_contract(read(LIGHTX2V))
    assert "blocks of 3 latent frames" in format_contract(read(CAUSVID))
    assert "text averaged over 25 padded tokens" in format_contract(read(PREVIEW))


# Comparing -----------------------------------------------------------------------------------------------------------


def fields_of(contract: dict[str, Any], requested: SamplingContract) -> list[str]:
    return [mismatch.field for mismatch in compare(read(contract), requested)]


@pytest.mark.parametrize("name", ALL)
def test_a_contract_agrees_with_itself(name: str) -> None:
    assert compare(read(ALL[name]), read(ALL[name])) == []


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("lightning", {"solver": "renoise"}, ["solver"]),
        ("lightning", {"shift": 8.0}, ["timesteps"]),
        ("lightning", {"cfg": 3.0}, ["cfg"]),
        ("lightning", {"timestep_cast": "int64_trunc"}, ["timesteps", "timestep_cast"]),
        ("lightning", {"boundary": 0.9}, []),  # splits these four steps as 0.875 does
        ("lightning", {"boundary": 0.95}, ["boundary_step"]),
        ("lightning", {"boundary": None, "boundary_step": 2}, []),
        ("lightning", {"lora_strength": 3.0}, ["lora_strength"]),
        ("lightning", {"lora_strength": None}, []),
        ("lightning", {"frames": 5}, ["frames"]),
        ("lightx2v", {"solver": "flow_euler"}, []),  # its alternative
        ("lightx2v", {"solver": "flow_euler", "alternatives": (), "cfg": 2.0}, ["cfg"]),
        ("causvid", {"causal": Causal(1)}, ["causal"]),
        ("causvid", {"timestep_cast": "float"}, ["timestep_cast"]),
        ("rcm", {"sigma_max": 120.0}, ["timesteps"]),
        ("preview", {"text_pool": "mean_unpadded", "text_length": None}, ["text_pool"]),
        ("preview", {"text_length": 30}, ["text_length"]),
        ("preview", {"steps": 20}, []),
        ("preview", {"steps": 20, "cfg": 4.0}, ["cfg"]),
    ],
)
def test_differences(name: str, changes: dict[str, Any], expected: list[str]) -> None:
    assert fields_of(ALL[name], replace(read(ALL[name]), **changes)) == expected


def test_other_steps_show_both_lists_of_timesteps() -> None:
    (found,) = compare(read(LIGHTNING), read(LIGHTNING).with_steps(2))
    assert found.field == "timesteps"
    assert str(found).startswith(
        "timesteps: the checkpoint's contract says [1000, 937.5, 833.333, 625], but [1000, 833.333] was asked for."
    )


def test_the_same_sigmas_by_another_rule_are_the_same() -> None:
    even = SamplingContract("flow_euler", Prediction.VELOCITY, steps=4, shift=5.0, timestep_cast="float")
    assert compare(read(LIGHTNING), even) == []


def test_roles() -> None:
    high, low = (read({**LIGHTNING, "role": role}) for role in ("high", "low"))
    assert [mismatch.field for mismatch in compare(high, low)] == ["role"]
    assert compare(high, replace(high, role="both")) == []
    assert check_experts(high, low) is None
    assert check_experts(None, high) is None
    swapped = check_experts(low, high)
    assert swapped is not None and "they are swapped" in swapped
    assert "swapped" in str(check_experts(low, read(LIGHTNING)))
    unlike = check_experts(high, replace(low, shift=16.0))
    assert unlike is not None and "[1000, 937.5, 833.333, 625]" in unlike and "979.592" in unlike


def test_sigmas_of_training_only() -> None:
    contract = read({**CAUSVID, "denoising_steps": [1000, 934, 862, 756, 603, 410, 250, 140, 74]})
    assert check_few_steps(contract, contract.schedule().sigmas) is None
    problem = check_few_steps(contract, flow_schedule(9, shift=8.0).sigmas)
    assert str(problem).endswith("Use WanLiteContractSampling.")


@pytest.mark.parametrize("name", ["solver", "prediction"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_field_that_is_null_is_missing(name: str, version: int) -> None:
    fields = {"version": version, "solver": "ddim", "prediction": "epsilon", "steps": 20} | {name: None}
    with pytest.raises(ContractError, match=f"has no \\['{name}'\\]"):
        SamplingContract.from_json(json.dumps(fields))


@pytest.mark.parametrize("depth", [1, 300])
def test_alternatives_have_none_of_their_own(depth: int) -> None:
    plain = {"solver": "ddim", "prediction": "epsilon", "steps": 20}
    fields = plain
    for _ in range(depth):
        fields = {**plain, "alternatives": [fields]}
    with pytest.raises(ContractError, match="alternatives of its own"):
        SamplingContract.from_json(json.dumps({**plain, "alternatives": [fields], "version": 2}))
