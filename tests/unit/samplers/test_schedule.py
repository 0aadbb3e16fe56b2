"""Schedules: their ends, their shift, image to image, and the errors at the border."""

from __future__ import annotations

import math

import pytest
import torch

from wan_lite.samplers import (
    FLOW,
    VE,
    VP,
    Schedule,
    ddim_schedule,
    dpmpp_schedule,
    flow_schedule,
    infer_shift,
    wan_timestep,
)

MAKERS = (ddim_schedule, flow_schedule, dpmpp_schedule)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": -3}, "steps is -3"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"steps": 5, "shift": 0.0}, "shift is 0.0"),
        ({"steps": 5, "shift": -1.0}, "shift is -1.0"),
        ({"steps": 5, "shift": math.nan}, "shift is nan"),
        ({"steps": 5, "shift": math.inf}, "shift is inf"),
        ({"steps": 5, "denoise": 0.0}, "denoise is 0.0"),
        ({"steps": 5, "denoise": 1.5}, "denoise is 1.5"),
        ({"steps": 5, "denoise": 1e-9}, "give 5e-06 or more"),
        ({"steps": 10**9}, "allowed are whole numbers from 1 to 10000"),
        ({"steps": 5, "shift": 10**400}, "allowed are numbers above 0 up to"),
    ],
)
def test_arguments_out_of_range(make, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**{"shift": 5.0, **arguments})


@pytest.mark.parametrize("make", MAKERS)
def test_the_shift_must_be_said(make) -> None:
    with pytest.raises(TypeError, match="shift"):
        make(10)
    with pytest.raises(TypeError):
        make(10, 5.0)


@pytest.mark.parametrize("make", MAKERS)
def test_denoise_keeps_the_end_of_a_longer_table(make) -> None:
    part, whole = make(10, shift=3.0, denoise=0.5), make(20, shift=3.0)
    assert torch.equal(part.sigmas, whole.sigmas[-11:])
    assert torch.equal(part.timesteps, whole.timesteps[-10:])


def test_ddim_shift_bends_between_fixed_ends() -> None:
    for shift in (0.1, 0.5, 3.0, 12.0):
        timesteps = ddim_schedule(10, shift=shift).timesteps.tolist()
        assert (timesteps[0], timesteps[-1]) == (999, 0)
    assert ddim_schedule(3, shift=3.0).timesteps.tolist() == [999, 749, 0]


def test_ddim_leaves_out_steps_that_change_nothing() -> None:
    """Training's table repeats a level where t = 1 and t = 0 share the clamped alpha; that step is an identity."""
    assert ddim_schedule(500, shift=1.0).steps == 500
    assert ddim_schedule(1000, shift=1.0).steps == 999
    assert ddim_schedule(1000, shift=1.0).timesteps.tolist() == [*range(999, 1, -1), 0]


def test_timesteps_off_the_table_are_truncated_from_sigma() -> None:
    flow, ddim = flow_schedule(20, shift=5.0), ddim_schedule(10, shift=1.0)
    assert [flow.timestep_at(sigma) for sigma in flow.sigma_values[:-1]] == flow.timesteps.tolist()
    assert [ddim.timestep_at(sigma) for sigma in ddim.sigma_values[:-1]] == ddim.timesteps.tolist()
    assert flow.timestep_at(0.98765) == 987
    assert ddim.timestep_at(math.sqrt(0.5001)) == 500
    assert wan_timestep(torch.tensor([0.9999, 0.5])).tolist() == [999, 500]


def test_to_process_keeps_noise_ratio_and_timesteps() -> None:
    ddim = ddim_schedule(10, shift=1.0)
    ve = ddim.to_process(VE)
    torch.testing.assert_close(ve.sigmas, ddim.sigmas / VP.alpha(ddim.sigmas))
    assert ve.process == VE
    assert torch.equal(ve.timesteps, ddim.timesteps)
    assert ve.timestep_at(ve.sigma_values[3]) == 666
    assert ddim.to_process(VP) is ddim


@pytest.mark.parametrize(
    "sigmas",
    [
        ddim_schedule(10, shift=1.0).to_process(VE).sigmas,
        flow_schedule(10, shift=5.0).sigmas[:-1],
        flow_schedule(2, shift=5.0).sigmas,
        torch.tensor([1.0, 0.9, 0.6, 0.1, 0.0]),
        torch.tensor([1.0, 0.7567567229, 0.5217391253, 0.0]),
    ],
    ids=["another process", "cut", "too few", "uneven", "causvid"],
)
def test_sigmas_that_hold_no_shift(sigmas: torch.Tensor) -> None:
    assert infer_shift(sigmas) is None


def test_split_shares_the_sigma_between() -> None:
    whole = flow_schedule(10, shift=5.0)
    first, second = whole.split(4)
    assert (first.steps, second.steps) == (4, 6)
    assert first.sigma_values[-1] == second.sigma_values[0] == whole.sigma_values[4]
    assert not first.ends_clean
    assert second.ends_clean
    assert torch.equal(torch.cat([first.timesteps, second.timesteps]), whole.timesteps)
    with pytest.raises(ValueError, match="split at 1 to 9"):
        whole.split(10)


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([1.0], "at least two"),
        ([[1.0, 0.0]], "at least two"),
        ([0.5, 0.5, 0.0], "do not strictly decrease"),
        ([0.0, 1.0], "do not strictly decrease"),
        ([1.0, math.nan, 0.0], "do not strictly decrease"),
        ([14.6, 1.0, 0.0], "belong to another process"),
        ([1.0, -0.1], "belong to another process"),
    ],
)
def test_sigmas_that_are_no_schedule(sigmas: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(torch.tensor(sigmas), FLOW)


def test_timesteps_must_match_and_inputs_are_copied() -> None:
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match=r"timesteps has shape \[3\]"):
        Schedule(sigmas, FLOW, torch.tensor([1, 2, 3]))
    schedule = Schedule(sigmas, FLOW)
    sigmas[0] = 0.7
    assert schedule.sigma_values == (1.0, 0.5, 0.0)
