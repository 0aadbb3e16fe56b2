"""The solvers against trajectories recorded from the original implementations on an analytic model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_lite.samplers import (
    DDIM,
    FlowDPMpp,
    FlowUniPC,
    Network,
    Prediction,
    Schedule,
    Solver,
    ddim_schedule,
    dpmpp_schedule,
    flow_schedule,
    guided,
    per_item_noise,
    sample,
    two_experts,
)

FOLDER = Path(__file__).parents[1] / "vectors" / "samplers"
VECTORS = load_file(FOLDER / "samplers.safetensors")
RECORD = json.loads((FOLDER / "samplers.json").read_text())
SOLVERS = {
    "nocorr01": FlowUniPC(disable_corrector=(0, 1)),
    "order1": FlowUniPC(order=1),
    "order3": FlowUniPC(order=3),
}


def analytic(x: Tensor, timestep: Tensor) -> Tensor:
    """The model of the vectors: ``tanh(x) * c + 0.1 * x``, c = cos(t / 1000) rounded to float32."""
    c = torch.tensor([math.cos(t / 1000) for t in timestep.tolist()], dtype=torch.float32)
    c = c.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return torch.tanh(x) * c + 0.1 * x


def trajectory(
    schedule: Schedule, solver: Solver, prediction: Prediction, x: Tensor | None = None, start: int = 0
) -> Tensor:
    x = VECTORS["x_init"] if x is None else x
    states = [x]
    sample(analytic, x, schedule, solver, prediction=prediction, start=start, on_step=lambda i, x, x0: states.append(x))
    return torch.stack(states)


@pytest.mark.parametrize("name", ["4_1.0", "10_3.0", "20_5.0", "50_8.0", "1_5.0", "2_5.0"])
def test_unipc(name: str) -> None:
    steps, shift = name.split("_")
    schedule = flow_schedule(int(steps), float(shift))
    assert torch.equal(schedule.timesteps, VECTORS[f"unipc_{name}.timesteps"])
    assert torch.equal(schedule.sigmas.float(), VECTORS[f"unipc_{name}.sigmas"])
    result = trajectory(schedule, FlowUniPC(), Prediction.VELOCITY)
    torch.testing.assert_close(result, VECTORS[f"unipc_{name}.traj"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", SOLVERS)
def test_unipc_variants(variant: str) -> None:
    result = trajectory(flow_schedule(10), SOLVERS[variant], Prediction.VELOCITY)
    torch.testing.assert_close(result, VECTORS[f"unipc_10_5.0_{variant}.traj"], atol=1e-6, rtol=0)


def test_unipc_from_the_middle() -> None:
    expected = VECTORS["unipc_10_5.0_from3.traj"]
    result = trajectory(flow_schedule(10), FlowUniPC(), Prediction.VELOCITY, expected[0], start=3)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_unipc_in_bfloat16() -> None:
    expected = VECTORS["unipc_10_5.0_bf16.traj"]
    result = trajectory(flow_schedule(10), FlowUniPC(), Prediction.VELOCITY, expected[0])
    assert result.dtype == torch.bfloat16
    # two units in the last place of bfloat16 at the largest value (2.8)
    torch.testing.assert_close(result.float(), expected.float(), atol=2**-5, rtol=0)


def test_bh1_is_finite_where_the_original_is_not() -> None:
    assert RECORD["combos"]["unipc_10_5.0_bh1"]["finite"] is False
    result = trajectory(flow_schedule(10), FlowUniPC(kind="bh1"), Prediction.VELOCITY)
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("name", ["10_5.0", "20_12.0"])
def test_dpmpp(name: str) -> None:
    steps, shift = name.split("_")
    schedule = dpmpp_schedule(int(steps), float(shift))
    assert torch.equal(schedule.timesteps, VECTORS[f"dpmpp_{name}.timesteps"])
    assert torch.equal(schedule.sigmas.float(), VECTORS[f"dpmpp_{name}.sigmas"])
    result = trajectory(schedule, FlowDPMpp(), Prediction.VELOCITY)
    torch.testing.assert_close(result, VECTORS[f"dpmpp_{name}.traj"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 20])
def test_ddim(steps: int) -> None:
    schedule = ddim_schedule(steps)
    assert torch.equal(schedule.timesteps, VECTORS[f"ddim_{steps}.timesteps"])
    result, expected = trajectory(schedule, DDIM(), Prediction.EPSILON), VECTORS[f"ddim_{steps}.traj"]
    # 1e-6, relative where the value is above 1: the trajectories reach 64, where float32 itself is spaced by 4e-6.
    # Training takes the roots of alpha^2 in float32; at t = 555 the exact root is so near a tie that float32 libraries
    # round it either way, and the epsilon reading magnifies that last bit.
    assert ((result - expected).abs() <= 1e-6 * expected.abs().clamp_min(1)).all()


def test_ddim_timestep_tables() -> None:
    for steps, table in RECORD["ddim_timestep_tables"].items():
        assert ddim_schedule(int(steps)).timesteps.tolist() == table


@pytest.mark.parametrize(("steps", "shift"), [(1, 5.0), (2, 5.0), (51, 5.0), (100, 5.0), (300, 5.0), (100, 12.0)])
def test_long_runs_finish(steps: int, shift: float) -> None:
    """The original stops with an assertion where the truncated timesteps repeat; here nothing looks them up."""
    result = trajectory(flow_schedule(steps, shift), FlowUniPC(), Prediction.VELOCITY)
    assert len(result) == steps + 1
    assert torch.isfinite(result).all()


def test_two_experts_share_one_history() -> None:
    """Against a straight loop of the original scheduler over its own rules for the two experts."""
    vectors = load_file(FOLDER / "experts.safetensors")

    def part(formula: Callable[[Tensor, float], Tensor]) -> Network:
        return lambda x, t: formula(x, float(torch.tensor(math.cos(int(t[0]) / 1000), dtype=torch.float32)))

    high = guided(part(lambda x, c: torch.tanh(x) * c + 0.1 * x), part(lambda x, c: torch.tanh(0.5 * x) * c), 4.0)
    low = guided(part(lambda x, c: torch.sin(x) * c + 0.2 * x), part(lambda x, c: 0.8 * torch.sin(x) * c), 3.0)
    used = []

    def watched(name: int, expert: Network) -> Network:
        return lambda x, t: (used.append(name), expert(x, t))[1]

    states = [per_item_noise((1, 4, 6, 5), 0)]
    schedule = flow_schedule(40, 12.0)
    network = two_experts(watched(1, high), watched(0, low), boundary=0.875)
    sample(
        network,
        states[0],
        schedule,
        FlowUniPC(),
        prediction=Prediction.VELOCITY,
        on_step=lambda i, x, x0: states.append(x),
    )
    assert torch.equal(schedule.timesteps, vectors["timesteps"])
    assert used == vectors["high"].tolist()
    torch.testing.assert_close(torch.stack(states), vectors["traj"], atol=1e-6, rtol=0)
