"""Schedules of few-step students, and the solver that adds fresh noise: borders, parts, seeds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wan_lite.samplers import (
    FLOW,
    FlowEuler,
    Prediction,
    Renoise,
    Schedule,
    explicit_schedule,
    few_step_schedule,
    flow_schedule,
    integrate,
    per_item_noise,
    sample,
    shift_sigma,
    trigflow_schedule,
)

FOUR = [1000, 750, 500, 250]
NOISE = per_item_noise((3, 2, 4, 4), 0)


def network(x: Tensor, timestep: Tensor) -> Tensor:
    return torch.tanh(x) * torch.cos(timestep.reshape(-1, 1, 1, 1) / 1000) + 0.1 * x


def run(solver: Renoise | FlowEuler, schedule: Schedule, noise: Tensor = NOISE) -> Tensor:
    return sample(network, noise, schedule, solver, prediction=Prediction.VELOCITY)


# Schedules -----------------------------------------------------------------------------------------------------------


def test_a_run_starts_at_one_exactly() -> None:
    schedule = few_step_schedule(FOUR, shift=5.0)
    assert schedule.sigma_values[0] == 1.0
    assert schedule.sigma_values[-1] == 0.0
    assert schedule.process == FLOW
    torch.testing.assert_close(
        schedule.sigmas[:-1], torch.tensor([shift_sigma(d / 1000, 5.0) for d in FOUR]).double(), atol=6e-8, rtol=0
    )


@pytest.mark.parametrize(
    ("cast", "fed", "dtype"),
    [
        ("float", [1000.0, 937.5, 833.3333129883, 625.0], torch.float32),
        ("int64_trunc", [1000, 937, 833, 625], torch.int64),
        ("bf16", [1000.0, 936.0, 832.0, 624.0], torch.float32),
        ("table", FOUR, torch.int64),
    ],
)
def test_casts_of_what_is_fed(cast: str, fed: list[float], dtype: torch.dtype) -> None:
    schedule, seen = few_step_schedule(FOUR, shift=5.0, timestep_cast=cast), []
    sample(lambda x, t: (seen.append(t), x)[1], NOISE, schedule, FlowEuler(), prediction=Prediction.VELOCITY)
    assert [t.tolist() for t in seen] == [[pytest.approx(value, abs=1e-9)] * 3 for value in fed]
    assert {t.dtype for t in seen} == {dtype} == {schedule.timestep_dtype}


def test_without_warp_the_sigma_is_the_nearest_of_the_table() -> None:
    schedule = few_step_schedule([1000, 757, 522], shift=8.0, warp=False, timestep_cast="table")
    assert schedule.sigma_values == pytest.approx((1.0, 0.7567567229, 0.5217391253, 0.0), abs=1e-10)
    assert schedule.timesteps is not None and schedule.timesteps.tolist() == [1000, 757, 522]
    other = few_step_schedule([1000, 757, 522], shift=5.0, warp=False)
    assert other.sigma_values == pytest.approx((1.0, 0.7570978403, 0.5215617418, 0.0), abs=1e-10)
    assert other.timesteps is not None and other.timesteps.tolist() == [1000.0, 757.0, 522.0]


@pytest.mark.parametrize("entries", [[*range(1000, 0, -1)], [757], [1000, 1], [500, 0]])
@pytest.mark.parametrize("shift", [1.0, 5.0, 16.0])
def test_integers_are_never_lost_to_rounding(entries: list[int], shift: float) -> None:
    """A timestep that is a whole number stays that number, whatever way it is cast."""
    for cast in ("int64_trunc", "float", "table"):
        try:
            schedule = few_step_schedule(entries, shift=shift, warp=False, timestep_cast=cast)
        except ValueError as error:  # two entries may share the nearest sigma of the table
            assert "do not strictly decrease" in str(error)
            continue
        assert schedule.timesteps is not None and schedule.timesteps.tolist() == entries


def test_off_its_sigmas_a_schedule_feeds_what_its_cast_makes() -> None:
    assert few_step_schedule(FOUR, shift=5.0).timestep_at(0.9) == pytest.approx(900.0)
    assert few_step_schedule(FOUR, shift=5.0, timestep_cast="int64_trunc").timestep_at(0.9999) == 999
    assert few_step_schedule([1000, 757], shift=8.0, warp=False, timestep_cast="table").timestep_at(0.5999) == 599
    assert trigflow_schedule(4, sigma_max=80.0).timestep_at(0.9) == 900.0
    assert trigflow_schedule(4, sigma_max=80.0).timestep_at(0.901) == 900.0


@pytest.mark.parametrize("steps", [[], [1000, 1000], [500, 750], [1001], [10, -1], [1000, 750.5], [True], "abc"])
def test_denoising_steps_out_of_range(steps: list[int]) -> None:
    with pytest.raises(ValueError, match=r"denoising_steps is .*whole numbers from 1000 to 0"):
        few_step_schedule(steps, shift=5.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: few_step_schedule(FOUR, shift=0.0), "shift is 0.0"),
        (
            lambda: few_step_schedule(FOUR, shift=5.0, timestep_cast="int"),
            "timestep_cast is 'int'; allowed are",
        ),
        (lambda: trigflow_schedule(5, sigma_max=80.0), "steps is 5; .*from 1 to 4"),
        (lambda: trigflow_schedule(0, sigma_max=80.0), "steps is 0"),
        (lambda: trigflow_schedule(4, sigma_max=14.0), "sigma_max is 14.0; allowed are numbers above 14.1"),
        (lambda: trigflow_schedule(4, sigma_max=math.inf), "sigma_max is inf"),
        (lambda: trigflow_schedule(4, sigma_max=80.0, timestep_cast="table"), "TrigFlow has no table"),
        (lambda: explicit_schedule([1.0, 1.0]), "do not strictly decrease"),
        (lambda: explicit_schedule([0.5, 0.9]), "do not strictly decrease"),
        (lambda: explicit_schedule([1.5, 0.9]), "belong to another process"),
        (lambda: explicit_schedule([1.0, 0.5], timesteps=[1000]), r"timesteps has shape \[1\]"),
        (lambda: explicit_schedule([1.0, 0.5], timestep_cast="table"), "there are no timesteps"),
    ],
)
def test_arguments_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_explicit_timesteps_are_fed_as_they_are() -> None:
    whole = explicit_schedule([1.0, 0.5], timesteps=[1000, 522])
    assert whole.timesteps is not None and whole.timesteps.dtype == torch.int64
    broken = explicit_schedule([1.0, 0.9375], timesteps=[1000, 937.5])
    assert broken.timesteps is not None and broken.timesteps.tolist() == [1000.0, 937.5]


# Starting, parts, image to image -------------------------------------------------------------------------------------


def test_plain_noise_is_scaled_where_the_family_does() -> None:
    first: list[Tensor] = []
    for schedule in (
        few_step_schedule(FOUR, shift=5.0),
        flow_schedule(4, shift=5.0),
        trigflow_schedule(4, sigma_max=80),
    ):
        inputs: list[Tensor] = []
        sample(
            lambda x, t, kept=inputs: (kept.append(x), x)[1], NOISE, schedule, Renoise(), prediction=Prediction.VELOCITY
        )
        first.append(inputs[0])
    assert torch.equal(first[0], NOISE)
    assert torch.equal(first[1], NOISE)
    torch.testing.assert_close(first[2], NOISE * (80 / 81))


@pytest.mark.parametrize(("denoise", "kept"), [(1.0, 4), (0.9, 3), (0.75, 3), (0.5, 2), (0.3, 1), (0.01, 1)])
def test_image_to_image_keeps_sigmas_of_training(denoise: float, kept: int) -> None:
    whole = trigflow_schedule(4, sigma_max=80.0)
    part = whole.keep_end(denoise)
    assert torch.equal(part.sigmas, whole.sigmas[-kept - 1 :])
    assert part.first_step == 4 - kept
    assert part.scales_noise == (kept == 4)
    with pytest.raises(ValueError, match=r"denoise is 1\.5"):
        whole.keep_end(1.5)


def test_a_list_of_sigmas_finds_its_place() -> None:
    whole = few_step_schedule([1000, 757, 522], shift=8.0, warp=False, timestep_cast="table")
    part = whole.find_part(whole.sigmas[1:].float())
    assert part is not None
    assert (part.first_step, part.steps) == (1, 2)
    assert part.timesteps is not None and part.timesteps.tolist() == [757, 522]
    for other in (flow_schedule(3, shift=8.0).sigmas, whole.sigmas[:1], torch.tensor([1.0, 0.5217391253])):
        assert whole.find_part(other) is None


# Renoise -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("known", [True, False], ids=["by index", "by sigma"])
def test_a_run_in_two_stages_is_the_uncut_one(cut: int, known: bool) -> None:
    schedule = few_step_schedule(FOUR, shift=5.0)
    if not known:  # as a host's SIGMAS are: nobody says where they begin
        schedule = Schedule(schedule.sigmas, FLOW, schedule.timesteps, "float")
    first, second = schedule.split(cut)
    half = run(Renoise(seed=3), first)
    assert torch.equal(run(Renoise(seed=3), second, half), run(Renoise(seed=3), schedule))


def test_stages_share_no_noise() -> None:
    drawn: list[Tensor] = []
    schedule = few_step_schedule(FOUR, shift=5.0)

    class Watched(Renoise):
        def _draw(self, x: Tensor, i: int, schedule: Schedule) -> Tensor:
            drawn.append(super()._draw(x, i, schedule))
            return drawn[-1]

    for part in schedule.split(2):
        run(Watched(seed=3), part)
    assert len(drawn) == 3  # the last step draws none
    assert len({float(noise[0, 0, 0, 0]) for noise in [*drawn, NOISE]}) == 4


def test_an_item_is_the_same_in_every_batch() -> None:
    schedule = few_step_schedule(FOUR, shift=5.0)
    together = run(Renoise(seed=10), schedule)
    for item in range(3):
        alone = run(Renoise(seed=10 + item), schedule, NOISE[item : item + 1])
        torch.testing.assert_close(together[item : item + 1], alone, atol=1e-6, rtol=0)
    assert not torch.equal(together, run(Renoise(seed=11), schedule))


def test_given_noise_replaces_the_seed_and_counts_in_the_whole_schedule() -> None:
    asked: list[int] = []

    def noise(x: Tensor, i: int) -> Tensor:
        asked.append(i)
        return torch.zeros_like(x, dtype=torch.float64)

    schedule = few_step_schedule(FOUR, shift=5.0)
    results = [run(Renoise(noise, seed=seed), schedule) for seed in (0, 1)]
    assert torch.equal(*results)
    run(Renoise(noise), schedule.split(2)[1])
    assert asked == [0, 1, 2, 0, 1, 2, 2]
    assert results[0].dtype == NOISE.dtype


def test_renoise_is_the_forward_process_of_the_prediction() -> None:
    schedule = few_step_schedule(FOUR, shift=5.0)
    fresh = per_item_noise(NOISE.shape, 99)
    x, _ = integrate(lambda x, sigma: 0.3 * x, NOISE, schedule, Renoise(lambda x, i: fresh), stop=1)
    torch.testing.assert_close(x, FLOW.add_noise(0.3 * NOISE, fresh, schedule.sigma_values[1]))


def test_euler_is_ddim_without_noise_in_the_flow_process() -> None:
    schedule = few_step_schedule(FOUR, shift=5.0)
    velocity = network(NOISE, torch.full((3,), 1000.0))
    x, _ = integrate(lambda x, sigma: x - sigma * velocity, NOISE, schedule, FlowEuler(), stop=1)
    torch.testing.assert_close(x, NOISE + (schedule.sigma_values[1] - 1.0) * velocity, atol=1e-6, rtol=0)
