"""Few-step students against their own programs: sigmas, timesteps, every latent that the network was given, the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wan_lite.samplers import (
    DDIM,
    FlowEuler,
    Prediction,
    Renoise,
    SamplingContract,
    Schedule,
    explicit_schedule,
    few_step_schedule,
    flow_schedule,
    sample,
    trigflow_schedule,
)

RECORD = json.loads((Path(__file__).parents[1] / "vectors" / "few_step" / "students.json").read_text("utf-8"))
FAMILIES: dict[str, dict[str, Any]] = RECORD["families"]
TOY = RECORD["toy"]
NOISE = torch.tensor(TOY["x_init"], dtype=torch.float32).reshape(TOY["shape"])
FRESH = [torch.tensor(noise, dtype=torch.float32).reshape(TOY["shape"]) for noise in TOY["fresh_noises_in_order"]]
FOUR, THREE = [1000, 750, 500, 250], [1000, 757, 522]


def dmd(steps: list[int], shift: float, **options: Any) -> Callable[[], Schedule]:
    return lambda: few_step_schedule(steps, shift=shift, **options)


def table(steps: list[int], shift: float) -> Callable[[], Schedule]:
    return dmd(steps, shift, warp=False, timestep_cast="table")


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "self_forcing_dmd_4": dmd(FOUR, 5.0),
    "causal_forcing_1": dmd([1000], 5.0),
    "matrix_game_2_universal_gta": dmd([1000, 666, 333], 5.0),
    "matrix_game_2_templerun": dmd(FOUR, 5.0),
    "krea_realtime_14b": table([1000, 937, 833, 625], 5.0),
    "krea_realtime_14b_server_5": dmd([1000, 750, 500, 250, 0], 5.0),
    "wan22_ti2v_5b_turbo_training": dmd(FOUR, 5.0),
    "causvid_3": table(THREE, 8.0),
    "causvid_plus_14b_9_as_in_lightx2v": table([999, 934, 862, 756, 603, 410, 250, 140, 74], 8.0),
    "lightx2v_wan21_4_since_2025_11": dmd(FOUR, 5.0),
    "lightx2v_wan21_4_lcm_2025_07": dmd(FOUR, 5.0),
    "lightx2v_wan22_4": dmd(FOUR, 5.0),
    "lightx2v_meanflow_2": dmd([1000, 500], 5.0),
    "lightx2v_phased_dmd_training_2026": dmd(FOUR, 7.0),
    "wan22_lightning_4": dmd(FOUR, 5.0),
    "fastwan_dmd_3": table(THREE, 8.0),
    "fastwan22_5b_training_table": table(THREE, 5.0),
    **{
        f"rcm_t2v_{steps}": lambda steps=steps: trigflow_schedule(steps, sigma_max=80.0, timestep_cast="float")
        for steps in (1, 2, 3, 4)
    },
}
"""How each recorded run is asked for here."""


def toy(x: Tensor, timestep: Tensor) -> Tensor:
    return 0.6 * x + 0.4 * timestep.to(x.dtype).reshape(-1, 1, 1, 1, 1) / 1000


def run(name: str, schedule: Schedule) -> tuple[list[Tensor], list[float], Tensor]:
    """The latents that the network was given, the timesteps that it was fed, and the final latent."""
    given, fed = [], []

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        given.append(x)
        fed.append(timestep.item())
        return toy(x, timestep)

    solver = FlowEuler() if FAMILIES[name]["update"] == "euler" else Renoise(noise=lambda x, i: FRESH[i])
    final = sample(network, NOISE, schedule, solver, prediction=Prediction.VELOCITY)
    return given, fed, final


def test_every_recorded_run_is_compared() -> None:
    recorded = {name for name, family in FAMILIES.items() if "final" in family}
    assert recorded == set(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    schedule, family = SCHEDULES[name](), FAMILIES[name]
    recorded = torch.tensor(family["sigmas"], dtype=torch.float64)
    torch.testing.assert_close(schedule.sigmas, recorded, atol=1e-7, rtol=0)
    fed = torch.tensor(family.get("fed", family.get("fed_float32")), dtype=torch.float32)
    assert schedule.timesteps is not None
    assert torch.equal(schedule.timesteps.float(), fed)


@pytest.mark.parametrize("name", SCHEDULES)
def test_trajectory_and_final(name: str) -> None:
    given, fed, final = run(name, SCHEDULES[name]())
    family = FAMILIES[name]
    trajectory = torch.tensor(family["trajectory"], dtype=torch.float64).reshape(len(given), *TOY["shape"])
    torch.testing.assert_close(torch.stack(given).double(), trajectory, atol=1e-6, rtol=0)
    expected = torch.tensor(family["final"], dtype=torch.float64).reshape(TOY["shape"])
    torch.testing.assert_close(final.double(), expected, atol=1e-6, rtol=0)
    assert torch.tensor(fed).float().tolist() == torch.tensor(family.get("fed", family.get("fed_float32"))).tolist()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_rcm_feeds_numbers_of_bfloat16(steps: int) -> None:
    schedule = trigflow_schedule(steps, sigma_max=80.0)
    assert schedule.timesteps is not None
    assert schedule.timesteps.tolist() == FAMILIES[f"rcm_t2v_{steps}"]["fed_bf16"] == [988, 932, 852, 608][:steps]
    assert schedule.timestep_dtype == torch.float32


def test_rcm_image_to_video_starts_higher() -> None:
    schedule = trigflow_schedule(4, sigma_max=200.0)
    expected = torch.tensor([0.9950249, 0.9337811, 0.8528954, 0.6089790, 0.0], dtype=torch.float64)
    torch.testing.assert_close(schedule.sigmas, expected, atol=1e-7, rtol=0)
    assert schedule.timesteps is not None
    assert schedule.timesteps.tolist() == [996, 932, 852, 608]


@pytest.mark.parametrize("steps", [4, 8])
def test_qwen_image_lightning(steps: int) -> None:
    contract = SamplingContract("flow_euler", Prediction.VELOCITY, steps=steps, shift=3.0, timestep_cast="float")
    schedule, family = contract.schedule(), FAMILIES[f"qwen_image_lightning_{steps}"]
    torch.testing.assert_close(schedule.sigmas, torch.tensor(family["sigmas"], dtype=torch.float64), atol=1e-7, rtol=0)
    assert schedule.timesteps is not None
    recorded = torch.tensor(family["timesteps"], dtype=torch.float32)
    # diffusers takes the shift from exp(mu) in float32: its timesteps are a unit in the last place off the exact ones
    torch.testing.assert_close(schedule.timesteps, recorded, atol=7e-5, rtol=0)


def test_chronoedit_has_a_table_of_its_own() -> None:
    """The rule of diffusers' UniPC for flow: evenly from 1 to 1/1000, shifted, the first a millionth below 1."""
    even = torch.linspace(1.0, 1.0 / 1000, 9, dtype=torch.float64)[:-1]
    sigmas = 2.0 * even / (1.0 + even)
    sigmas[0] -= 1e-6
    schedule = explicit_schedule(sigmas.tolist(), timestep_cast="int64_trunc")
    family = FAMILIES["chronoedit_distill_8"]
    torch.testing.assert_close(schedule.sigmas, torch.tensor(family["sigmas"], dtype=torch.float64), atol=1e-7, rtol=0)
    assert schedule.timesteps is not None
    assert schedule.timesteps.tolist() == family["timesteps"]
    assert (flow_schedule(8, shift=2.0).sigmas - schedule.sigmas).abs().max() > 1e-4


# What goes wrong without it ------------------------------------------------------------------------------------------


def test_causvid_fed_sigmas_instead_of_integers_is_off() -> None:
    _, _, final = run("causvid_3", explicit_schedule(SCHEDULES["causvid_3"]().sigma_values[:-1]))
    expected = torch.tensor(FAMILIES["causvid_3"]["final"]).reshape(TOY["shape"])
    assert float((final - expected).abs().max()) == pytest.approx(7.9e-5, rel=0.05)


def test_wans_own_schedule_is_not_that_of_a_four_step_student() -> None:
    schedule = flow_schedule(4, shift=5.0)
    assert schedule.timesteps is not None
    assert schedule.timesteps.tolist() == [999, 937, 833, 624]
    _, _, final = run("self_forcing_dmd_4", schedule)
    expected = torch.tensor(FAMILIES["self_forcing_dmd_4"]["final"]).reshape(TOY["shape"])
    assert float((final - expected).abs().max()) > 1e-5


def test_ddpm_is_not_renoise() -> None:
    schedule = SCHEDULES["self_forcing_dmd_4"]()
    stochastic = sample(toy, NOISE, schedule, DDIM(eta=1.0, seed=0), prediction=Prediction.VELOCITY)
    renoised = sample(toy, NOISE, schedule, Renoise(seed=0), prediction=Prediction.VELOCITY)
    assert float((stochastic - renoised).abs().max()) > 0.1
