"""Noise processes and the reading of a network's output."""

from __future__ import annotations

import math

import pytest
import torch

from wan_lite.samplers import FLOW, VE, VP, NoiseProcess, Prediction, from_x0, to_x0

PROCESSES = (FLOW, VP, VE)
PAIRS = [
    (process, kind) for process in PROCESSES for kind in Prediction if (process, kind) != (VE, Prediction.VELOCITY)
]


def noised(process: NoiseProcess, sigma: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x0, noise = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x0, noise, process.add_noise(x0, noise, sigma)


@pytest.mark.parametrize(("process", "kind"), PAIRS, ids=str)
@pytest.mark.parametrize("sigma", [0.01, 0.5, 0.95])
def test_from_and_to_x0_are_inverse(process: NoiseProcess, kind: Prediction, sigma: float) -> None:
    x0, _, x = noised(process, sigma)
    output = from_x0(x0, x, sigma, kind, process)
    torch.testing.assert_close(to_x0(output, x, sigma, kind, process), x0, atol=1e-12, rtol=0)


def test_outputs_are_what_their_names_say() -> None:
    sigma = 0.6
    for process in PROCESSES:
        x0, noise, x = noised(process, sigma)
        torch.testing.assert_close(to_x0(noise, x, sigma, Prediction.EPSILON, process), x0)
    x0, noise, x = noised(FLOW, sigma)
    torch.testing.assert_close(to_x0(noise - x0, x, sigma, Prediction.VELOCITY, FLOW), x0)
    x0, noise, x = noised(VP, sigma)
    torch.testing.assert_close(to_x0(0.8 * noise - 0.6 * x0, x, sigma, Prediction.VELOCITY, VP), x0)


def test_impossible_readings_are_refused() -> None:
    x = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="pure noise"):
        to_x0(x, x, 1.0, Prediction.EPSILON, FLOW)
    with pytest.raises(ValueError, match="has none"):
        to_x0(x, x, 1.0, Prediction.VELOCITY, VE)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
def test_half_log_snr_and_ratio(process: NoiseProcess) -> None:
    sigma = 0.3
    expected = math.log(process.alpha(sigma) / sigma)
    assert process.half_log_snr(sigma) == pytest.approx(expected)
    assert process.half_log_snr(torch.tensor(sigma, dtype=torch.float64)).item() == pytest.approx(expected)
    assert process.half_log_snr(0.0) == math.inf
    assert process.from_ratio(process.noise_ratio(sigma)) == pytest.approx(sigma)


def test_add_noise_takes_one_level_for_each_item() -> None:
    x0, noise, _ = noised(FLOW, 0.5)
    both = FLOW.add_noise(x0, noise, torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(both[0], FLOW.add_noise(x0[:1], noise[:1], 0.25)[0])
    torch.testing.assert_close(both[1], 0.25 * x0[1] + 0.75 * noise[1])
    with pytest.raises(ValueError, match=r"\[1, 3, 4, 5\].*\[2, 3, 4, 5\]"):
        FLOW.add_noise(x0, noise[:1], 0.5)


def test_prediction_reads_as_its_value() -> None:
    assert str(Prediction("velocity")) == "velocity" == Prediction.VELOCITY


def test_an_unknown_prediction_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="prediction is 'flow'; allowed are 'epsilon', 'velocity', 'x0'"):
        Prediction("flow")
