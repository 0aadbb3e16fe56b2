"""The probe on networks of a known prediction type: exact denoisers of smooth random fields, epsilon and velocity."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wan_lite.pipeline.contracts import parse_candidates
from wan_lite.pipeline.pictures.probe import draw_probe_chart, draw_probe_grid
from wan_lite.pipeline.probing import ProbeReport, count_calls, measure_latent, probe
from wan_lite.samplers import PRESETS, Network, SamplingContract, per_item_noise

SHAPE = (4, 16, 8, 8)
DDIM20, FLOW20 = "ddim-20 run_inference", "flow_unipc-20 shift 5"


def spectrum(height: int, width: int) -> Tensor:
    """Power of a field whose neighbours resemble each other, mean 1."""
    down, across = (torch.fft.fftfreq(side) * side for side in (height, width))
    power = 1 / (1 + down[:, None] ** 2 + across[None] ** 2)
    return power / power.mean()


def posterior_mean(x: Tensor, alpha: float, sigma: float) -> Tensor:
    power = spectrum(*x.shape[-2:])
    gain = alpha * power / (alpha**2 * power + sigma**2)
    return torch.fft.ifft2(torch.fft.fft2(x) * gain).real


def epsilon_network(x: Tensor, timestep: Tensor) -> Tensor:
    signal = min(max(1 - int(timestep[0]) / 1000, 1e-3), 1 - 1e-3)
    alpha, sigma = math.sqrt(signal), math.sqrt(1 - signal)
    return (x - alpha * posterior_mean(x, alpha, sigma)) / sigma


def velocity_network(x: Tensor, timestep: Tensor) -> Tensor:
    sigma = min(max(int(timestep[0]) / 1000, 1e-3), 0.9999)
    return (x - posterior_mean(x, 1 - sigma, sigma)) / sigma


@pytest.mark.parametrize("seed", range(0, 100, 5))
@pytest.mark.parametrize(("network", "prediction"), [(epsilon_network, "epsilon"), (velocity_network, "velocity")])
def test_the_right_prediction_type_comes_first(network: Network, prediction: str, seed: int) -> None:
    report = probe(network, PRESETS, SHAPE, seed=seed)
    assert [item.prediction == prediction for item in report.ranking] == [True, True, False, False]
    assert report.best.name == (DDIM20 if prediction == "epsilon" else FLOW20)
    assert f"looks like {prediction}" in report.sentence
    assert "clearly ahead" in report.sentence


def test_one_item_is_enough_here() -> None:
    for network, prediction in ((epsilon_network, "epsilon"), (velocity_network, "velocity")):
        assert probe(network, PRESETS, (1, 16, 8, 8)).best.prediction == prediction


def test_within_one_prediction_type_the_cheapest_run_that_equals_the_finest_comes_first() -> None:
    steps = (40, 2, 20, 30)
    candidates = {f"{n} steps": replace(PRESETS[FLOW20], steps=n) for n in steps}
    report = probe(velocity_network, candidates, SHAPE)
    assert [item.contract.steps for item in report.ranking] == [20, 30, 40, 2]
    distances = {item.contract.steps: item.distance for item in report.ranking}
    assert distances[40] == 0 < distances[30] < distances[20] < 0.06 < distances[2]
    assert "no candidate of another prediction type" in report.sentence


def test_the_report_explains_itself() -> None:
    report = probe(velocity_network, PRESETS, SHAPE)
    worst = report.ranking[-1]
    assert worst.score == sum(worst.penalties.values())
    assert max(worst.rms_ratio) > 1.5
    lines = str(report).splitlines()
    assert lines[0] == report.sentence
    assert lines[1].startswith(f"1. {report.best.name}: score ")
    assert "neighbour correlation" in lines[1]


def test_hopeless_networks_are_said_to_be() -> None:
    silent = probe(lambda x, t: torch.zeros_like(x), PRESETS, SHAPE)
    assert "do not trust" in silent.sentence
    nan = probe(lambda x, t: x * math.nan, PRESETS, SHAPE)
    assert "ran off to infinity" in nan.sentence
    assert nan.best.score == math.inf


def test_statistics_are_those_of_the_finished_latent() -> None:
    report = probe(velocity_network, {"one": PRESETS[FLOW20]}, SHAPE, finish=lambda latent: 2 * latent + 1)
    plain = measure_latent(report.best.latent)
    assert report.best.statistics.std == pytest.approx([2 * value for value in plain.std], rel=1e-4)
    assert report.best.statistics.mean == pytest.approx([2 * value + 1 for value in plain.mean], abs=1e-4)
    assert report.best.statistics.autocorrelation == pytest.approx(plain.autocorrelation, abs=1e-4)


def test_statistics_of_known_fields() -> None:
    white = measure_latent(per_item_noise((2, 16, 64, 64), 0))
    assert white.autocorrelation == pytest.approx(0, abs=0.01)
    assert white.high_frequency == pytest.approx(0.73, abs=0.02)
    assert sum(white.std) / 16 == pytest.approx(1, abs=0.02)
    ramp = measure_latent(torch.linspace(-1, 1, 64).expand(1, 2, 64, 64))
    assert ramp.autocorrelation > 0.9
    assert ramp.high_frequency < 0.1
    checks = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2 * 2.0 - 1
    board = measure_latent(checks.expand(1, 1, 64, 64))
    assert board.autocorrelation == pytest.approx(-1)
    assert board.high_frequency == pytest.approx(1)


def test_progress_and_pictures() -> None:
    runs: list[tuple[int, int]] = []
    candidates: dict[str, SamplingContract] = {name: PRESETS[name] for name in (DDIM20, FLOW20)}
    report = probe(velocity_network, candidates, SHAPE, on_run=lambda done, total: runs.append((done, total)))
    assert runs == [(1, 2), (2, 2)]
    shown = []
    grid = draw_probe_grid(report, lambda latent: (shown.append(latent), torch.zeros(1, 64, 64, 3))[1], cell=128)
    assert [latent.shape for latent in shown] == [(1, *SHAPE[1:])] * 2
    assert grid.width > 2 * 128
    assert draw_probe_chart(report).width == 720


@pytest.mark.parametrize(
    ("candidates", "shape", "message"),
    [
        ({}, SHAPE, "candidates is empty"),
        (PRESETS, (16, 8, 8), r"shape is \(16, 8, 8\)"),
        (PRESETS, (1, 4, 1, 8), "shape"),
    ],
)
def test_bad_requests(candidates: dict, shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probe(velocity_network, candidates, shape)


def test_samplings_that_give_the_same_are_called_equal_and_neither_is_the_better_one() -> None:
    names = {"coarse": 2, "ten": 20, "twenty": 30}
    report = probe(velocity_network, {name: replace(PRESETS[FLOW20], steps=n) for name, n in names.items()}, SHAPE)
    assert [item.name for item in report.ranking] == ["ten", "twenty", "coarse"]
    assert "'ten' and 'twenty' are equal within 6%, the cheapest first" in report.sentence
    assert [report.fits_as_well(name) for name in names] == [False, True, True]


def test_a_better_score_is_as_good_as_the_first_rank() -> None:
    report = probe(velocity_network, {"fine": PRESETS[FLOW20], "coarse": replace(PRESETS[FLOW20], steps=2)}, SHAPE)
    better = replace(report.ranking[1], penalties={"spread": 0.0})
    assert ProbeReport((report.best, better), "").fits_as_well("coarse")
    assert not report.fits_as_well("coarse") and report.is_usable


TURBO = "wan2.2-ti2v-5b-turbo"


def knows_only(levels: tuple[float, ...]) -> Network:
    """A velocity network that was trained at these levels alone: elsewhere it takes the nearest of them."""

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        sigma = float(timestep[0]) / 1000
        trained = min(min(levels, key=lambda level: abs(level - sigma)), 0.9999)
        return (x - posterior_mean(x, 1 - trained, trained)) / trained

    return network


def test_both_level_lists_of_a_student_are_compared_on_the_network() -> None:
    candidates = parse_candidates(TURBO)
    assert list(candidates) == [TURBO, f"{TURBO}, alternative 1"]
    for name, contract in candidates.items():
        levels = contract.schedule().sigma_values[:-1]
        report = probe(knows_only(levels), candidates, SHAPE)
        assert report.best.name == name, str(report)
        assert {item.name for item in report.ranking} == set(candidates)


def test_the_number_of_calls_is_known_and_bounded() -> None:
    candidates, calls = parse_candidates(TURBO), []

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        calls.append(float(timestep[0]))
        return velocity_network(x, timestep)

    probe(network, candidates, SHAPE, max_calls=14)
    assert len(calls) == sum(map(count_calls, candidates.values())) == 14  # 4 steps and 3 levels below 1, twice
    calls.clear()
    with pytest.raises(ValueError, match="need 14 calls of the network, and max_calls is 13"):
        probe(network, candidates, SHAPE, max_calls=13)
    assert calls == []


@pytest.mark.parametrize("names", ["", " \n", "no such thing", "longcat-video"])
def test_names_that_say_nothing_are_refused(names: str) -> None:
    with pytest.raises(ValueError, match="candidates: "):
        parse_candidates(names)
