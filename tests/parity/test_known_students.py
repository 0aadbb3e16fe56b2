"""The data file's contracts against the runs recorded with each project's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wan_lite.models.known_students import load_known_students
from wan_lite.samplers import FlowEuler, Prediction, Renoise, SamplingContract, sample

RECORD = json.loads((Path(__file__).parents[1] / "vectors" / "few_step" / "students.json").read_text("utf-8"))
FAMILIES: dict[str, dict[str, Any]] = RECORD["families"]
TOY = RECORD["toy"]
NOISE = torch.tensor(TOY["x_init"], dtype=torch.float32).reshape(TOY["shape"])
FRESH = [torch.tensor(noise, dtype=torch.float32).reshape(TOY["shape"]) for noise in TOY["fresh_noises_in_order"]]

RUNS: dict[str, tuple[str, int]] = {
    "self_forcing_dmd_4": ("self-forcing", 0),
    "causal_forcing_1": ("causal-forcing-1step", 0),
    "matrix_game_2_universal_gta": ("matrix-game-2", 0),
    "matrix_game_2_templerun": ("matrix-game-2-templerun", 0),
    "krea_realtime_14b": ("krea-realtime", 0),
    "krea_realtime_14b_server_5": ("krea-realtime", 1),
    "wan22_ti2v_5b_turbo_training": ("wan2.2-ti2v-5b-turbo", 0),
    "causvid_3": ("causvid-bidirectional", 0),
    "causvid_plus_14b_9_as_in_lightx2v": ("causvid-14b", 1),
    "lightx2v_wan21_4_since_2025_11": ("lightx2v-wan2.1", 1),
    "lightx2v_wan21_4_lcm_2025_07": ("lightx2v-wan2.1", 0),
    "lightx2v_wan22_4": ("lightx2v-wan2.2-t2v", 0),
    "lightx2v_phased_dmd_training_2026": ("lightx2v-wan2.2-phased", 0),
    "wan22_lightning_4": ("wan2.2-lightning-t2v", 0),
    "fastwan_dmd_3": ("fastwan2.2-5b", 0),
    "fastwan22_5b_training_table": ("fastwan2.2-5b", 1),
    "rcm_t2v_4": ("rcm-t2v", 0),
}
"""Recorded run -> the known student, and which of its contracts (0 is the first, then its alternatives)."""

SCHEDULES: dict[str, tuple[str, int]] = {
    "qwen_image_lightning_4": ("qwen-image-lightning-4", 0),
    "qwen_image_lightning_8": ("qwen-image-lightning-8", 0),
    "chronoedit_distill_8": ("chronoedit", 0),
}
"""The same where the schedule alone is recorded."""

WITHOUT_A_CONTRACT = {
    "lightx2v_meanflow_2": "needs another network",
    **dict.fromkeys(("rcm_t2v_1", "rcm_t2v_2", "rcm_t2v_3"), "rcm-t2v with fewer steps"),
}
"""Recorded families of which the data file has remarks only, and those that follow from an entry."""


def contract_of(name: str) -> SamplingContract:
    student, number = {**RUNS, **SCHEDULES}[name]
    contract = load_known_students().students[student].contract()
    assert contract is not None
    return contract if number == 0 else contract.alternatives[number - 1]


def test_every_recorded_family_has_its_entry() -> None:
    assert set(FAMILIES) == {*RUNS, *SCHEDULES, *WITHOUT_A_CONTRACT}


@pytest.mark.parametrize("name", [*RUNS, *SCHEDULES])
def test_levels_and_timesteps(name: str) -> None:
    schedule, family = contract_of(name).schedule(), FAMILIES[name]
    assert schedule.sigma_values == pytest.approx(family["sigmas"], abs=1e-7)
    fed = [schedule.timestep_at(sigma) for sigma in schedule.sigma_values[:-1]]
    assert fed == pytest.approx(family.get("fed_bf16") or family["timesteps"], abs=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_trajectories(name: str) -> None:
    contract, family = contract_of(name), FAMILIES[name]
    given = []

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        given.append(x)
        # the record of rCM was made with its timesteps in float32
        fed = torch.tensor([family.get("fed_float32", family["timesteps"])[len(given) - 1]])
        assert "fed_float32" in family or timestep.item() == pytest.approx(fed.item(), abs=1e-4)
        return 0.6 * x + 0.4 * fed / 1000

    solver = Renoise(noise=lambda x, i: FRESH[i]) if family["update"] == "renoise" else FlowEuler()
    assert contract.solver == solver.name
    final = sample(network, NOISE, contract.schedule(), solver, prediction=Prediction.VELOCITY)
    for x, recorded in zip([*given, final], [*family["trajectory"], family["final"]], strict=True):
        assert x.flatten().tolist() == pytest.approx(recorded, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_trigflow_student_with_fewer_steps(steps: int) -> None:
    contract = load_known_students().students["rcm-t2v"].contract()
    assert contract is not None
    schedule, family = contract.with_steps(steps).schedule(), FAMILIES[f"rcm_t2v_{steps}"]
    assert schedule.sigma_values == pytest.approx(family["sigmas"], abs=1e-7)
    assert [schedule.timestep_at(sigma) for sigma in schedule.sigma_values[:-1]] == family["fed_bf16"]
