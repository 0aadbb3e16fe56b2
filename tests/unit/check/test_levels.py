"""Noise levels by arithmetic alone, against those that a real ComfyUI computed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from wan_lite.check.levels import sampling
from wan_lite.check.levels import sigma_nodes as nodes
from wan_lite.check.levels.schedulers import SCHEDULERS, UnknownLevels, karras_levels, schedule_levels

RECORDING = json.loads((Path(__file__).parents[2] / "vectors" / "check" / "levels.json").read_text("utf-8"))


def model(kind: str, settings: dict[str, float]) -> Any:
    return getattr(sampling, kind)(**settings)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_equal_the_host(name: str) -> None:
    cases = [case for case in RECORDING["schedulers"] if case[0] == name]
    assert {case[3] for case in cases} >= {4, 9, 20} and len(cases) >= 27
    for _, kind, settings, steps, levels in cases:
        # levels in the hundreds, where the host's own float32 rounds visibly, are compared to its last digits
        relative = 3e-6 if kind.startswith("Continuous") else 1e-6
        assert schedule_levels(name, steps, model(kind, settings)) == pytest.approx(levels, rel=relative, abs=1e-6)


@pytest.mark.parametrize("name", sorted({case[0] for case in RECORDING["nodes"]}))
def test_nodes_equal_the_host(name: str) -> None:
    for _, values, kind, settings, outputs in (case for case in RECORDING["nodes"] if case[0] == name):
        for slot, levels in enumerate(outputs):
            if name in nodes.FROM_SIGMAS:
                found = nodes.FROM_SIGMAS[name](RECORDING["sigmas"], values, slot)
            elif name in nodes.FROM_MODEL:
                found = nodes.FROM_MODEL[name](model(kind, settings), values)
            else:
                found = nodes.FROM_NUMBERS[name](values)
            assert found == pytest.approx(levels, rel=1e-6, abs=1e-6), (values, slot)


def test_every_node_of_the_engine_is_recorded() -> None:
    assert {case[0] for case in RECORDING["nodes"]} == {*nodes.FROM_SIGMAS, *nodes.FROM_MODEL, *nodes.FROM_NUMBERS}


def test_trained_levels_of_the_common_recipes() -> None:
    flow = sampling.DiscreteFlow(5.0)
    assert schedule_levels("simple", 4, flow) == pytest.approx([1, 0.9375, 5 / 6, 0.625, 0])
    assert schedule_levels("normal", 4, flow) == pytest.approx([1, 0.9097, 0.7173, 0.0244, 0], abs=1e-4)
    assert nodes.ksampler_levels(sampling.DiscreteFlow(8.0), "uni_pc", "simple", 4) == pytest.approx(
        [1, 0.9697, 0.9231, 0.8421, 0], abs=1e-4
    )


def test_denoise_below_one_is_the_tail_of_a_longer_schedule() -> None:
    flow = sampling.DiscreteFlow(5.0)
    longer = schedule_levels("simple", 8, flow)
    assert nodes.ksampler_levels(flow, "euler", "simple", 4, 0.5) == longer[-5:]
    assert nodes.ksampler_levels(flow, "euler", "simple", 4, 0.0) == []


def test_what_has_no_value_is_said() -> None:
    with pytest.raises(UnknownLevels, match="kl_optimal"):
        schedule_levels("kl_optimal", 1, sampling.DiscreteFlow(1.0))
    with pytest.raises(UnknownLevels, match="'beta57'"):
        schedule_levels("beta57", 4, sampling.DiscreteFlow(1.0))
    with pytest.raises(UnknownLevels, match="rho 0"):
        karras_levels(4, 0.1, 1, 0)


def test_timesteps() -> None:
    assert sampling.DiscreteFlow(5.0).timestep(0.9375) == 937.5
    assert sampling.DiscreteFlow(5.0, 1.0).timestep(0.9375) == 0.9375
    epsilon = sampling.DiscreteEpsilon()
    assert epsilon.timestep(epsilon.table[137]) == 137
    assert epsilon.timestep(1e-9) == 0 and epsilon.timestep(1e9) == 999
    assert math.isclose(epsilon.sigma(999), 14.6146, rel_tol=1e-4)
