"""Solver options: each does what it says, and off is bit-equal to without."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wan_lite.samplers import (
    DDIM,
    FLOW,
    VP,
    Churn,
    FlowDPMpp,
    FlowUniPC,
    Prediction,
    Schedule,
    apply_guidance,
    combine_experts,
    ddim_schedule,
    dpmpp_schedule,
    flow_schedule,
    integrate,
    per_item_noise,
    sample,
)

NOISE = per_item_noise((2, 4, 6, 5), 0)


def network(x: Tensor, timestep: Tensor) -> Tensor:
    return torch.tanh(x) * torch.cos(timestep[0] / 1000) + 0.1 * x


def run(solver, schedule: Schedule | None = None, noise: Tensor = NOISE) -> Tensor:
    schedule = schedule or flow_schedule(10, shift=5.0)
    kind = Prediction.VELOCITY if schedule.process == FLOW else Prediction.EPSILON
    return sample(network, noise, schedule, solver, prediction=kind)


@pytest.mark.parametrize(
    ("plain", "with_options_off", "schedule"),
    [
        (DDIM(), DDIM(eta=0.0, s_noise=3.0, churn=Churn(0.0), seed=9), ddim_schedule(10, shift=1.0)),
        (DDIM(), DDIM(eta=0.0, churn=Churn(40.0, 2.0, 3.0)), flow_schedule(10, shift=5.0)),
        (FlowUniPC(), FlowUniPC(disable_corrector=()), flow_schedule(10, shift=5.0)),
    ],
)
def test_off_is_bit_equal_to_without(plain, with_options_off, schedule: Schedule) -> None:
    assert torch.equal(run(plain, schedule), run(with_options_off, schedule))


def test_eta_one_is_ddpm() -> None:
    """One step against the DDPM posterior of the same pair of levels, written out from its own paper."""
    schedule = ddim_schedule(10, shift=1.0)
    solver = DDIM(eta=1.0, seed=3)
    got, _ = integrate(lambda x, sigma: 0.3 * x, NOISE, schedule, solver, start=4, stop=5)
    zero, _ = integrate(lambda x, sigma: 0.3 * x, NOISE, schedule, DDIM(eta=1.0, s_noise=0.0), start=4, stop=5)
    bar, bar_next = (float(VP.alpha(schedule.sigma_values[i])) ** 2 for i in (4, 5))
    alpha, beta = bar / bar_next, 1 - bar / bar_next
    x0_weight = math.sqrt(bar_next) * beta / (1 - bar)
    x_weight = math.sqrt(alpha) * (1 - bar_next) / (1 - bar)
    torch.testing.assert_close(zero, (x0_weight * 0.3 + x_weight) * NOISE, atol=1e-6, rtol=1e-6)
    added = (got - zero) / math.sqrt((1 - bar_next) / (1 - bar) * beta)
    assert added.std().item() == pytest.approx(1.0, abs=0.1)


def test_eta_and_s_noise_change_the_result_repeatably() -> None:
    schedule = ddim_schedule(10, shift=1.0)
    half, again, other = DDIM(eta=0.5, seed=1), DDIM(eta=0.5, seed=1), DDIM(eta=0.5, seed=2)
    assert torch.equal(run(half, schedule), run(again, schedule))
    assert not torch.equal(run(half, schedule), run(other, schedule))
    assert not torch.equal(run(half, schedule), run(DDIM(eta=0.5, s_noise=1.1, seed=1), schedule))


@pytest.mark.parametrize("solver", [DDIM(eta=0.7, seed=4), DDIM(churn=Churn(5.0), seed=4)], ids=["eta", "churn"])
def test_noise_of_a_stochastic_solver_belongs_to_the_item(solver: DDIM) -> None:
    both = run(solver, ddim_schedule(8, shift=1.0))
    second = run(DDIM(eta=solver.eta, churn=solver.churn, seed=5), ddim_schedule(8, shift=1.0), NOISE[1:])
    torch.testing.assert_close(both[1:], second, atol=1e-5, rtol=0)


def test_churn_raises_the_level_and_feeds_it() -> None:
    schedule, levels = flow_schedule(10, shift=5.0), []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        levels.append(sigma)
        return 0.5 * x

    integrate(denoise, NOISE, schedule, DDIM(churn=Churn(2.0, s_tmin=0.5, s_tmax=0.9)))
    for sigma, seen in zip(schedule.sigma_values[:-1], levels, strict=True):
        if 0.5 <= sigma <= 0.9:
            assert FLOW.noise_ratio(seen) == pytest.approx(1.2 * FLOW.noise_ratio(sigma))
        else:
            assert seen == sigma


def test_churned_noise_has_the_variance_of_its_level() -> None:
    """Pure noise at a level stays noise of the right size at the raised level."""
    schedule = Schedule(torch.tensor([0.6, 0.3]), FLOW)
    noise = per_item_noise((1, 4, 128, 128), 1) * 0.6
    seen = []
    integrate(lambda x, sigma: (seen.append((x, sigma)), x)[1], noise, schedule, DDIM(churn=Churn(0.4)))
    x, sigma = seen[0]
    assert sigma > 0.6
    assert x.std().item() == pytest.approx(sigma, rel=0.01)


def test_clip_limits_what_the_solver_sees() -> None:
    seen, schedule = [], flow_schedule(4, shift=5.0)
    integrate(lambda x, sigma: 5 * x, NOISE, schedule, DDIM(clip_x0=0.5), on_step=lambda i, x, x0: seen.append(x0))
    assert max(float(x0.abs().max()) for x0 in seen) <= 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DDIM(eta=1.5), "eta is 1.5"),
        (lambda: DDIM(clip_x0=0.0), "clip_x0 is 0.0"),
        (lambda: DDIM(s_noise=-1.0), "s_noise is -1.0"),
        (lambda: Churn(-1.0), "s_churn is -1.0"),
        (lambda: Churn(1.0, 2.0, 1.0), "s_tmin is 2.0"),
        (lambda: FlowUniPC(order=4), "order is 4"),
        (lambda: FlowUniPC(kind="bh3"), "kind is 'bh3'"),
        (lambda: FlowDPMpp(order=3), "order is 3"),
        (lambda: combine_experts(network, network, boundary=875.0), "boundary is 875.0"),
    ],
)
def test_options_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_flow_solver_on_another_process_is_refused_with_a_remedy() -> None:
    for solver in (FlowUniPC(), FlowDPMpp()):
        with pytest.raises(ValueError, match=r"'flow' process, but the schedule is of 'vp'; use a 'flow' schedule"):
            sample(network, NOISE, ddim_schedule(4, shift=1.0), solver, prediction=Prediction.EPSILON)


def test_bad_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="start is 4 and stop is 4"):
        sample(network, NOISE, flow_schedule(4, shift=5.0), DDIM(), prediction=Prediction.VELOCITY, start=4)
    with pytest.raises(ValueError, match="floating point"):
        sample(network, NOISE.int(), flow_schedule(4, shift=5.0), DDIM(), prediction=Prediction.VELOCITY)


def test_network_gets_training_timesteps_as_int64_for_each_item() -> None:
    seen = []
    sample(
        lambda x, t: (seen.append(t), x)[1],
        NOISE,
        flow_schedule(4, shift=3.0),
        FlowUniPC(),
        prediction=Prediction.VELOCITY,
    )
    assert [t.tolist() for t in seen] == [[t, t] for t in flow_schedule(4, shift=3.0).timesteps.tolist()]
    assert all(t.dtype == torch.int64 for t in seen)


@pytest.mark.parametrize(
    ("schedule", "kind"), [(flow_schedule(6, shift=5.0), "velocity"), (ddim_schedule(6, shift=1.0), "epsilon")]
)
def test_a_half_precision_network_does_not_change_the_runs_precision(schedule: Schedule, kind: str) -> None:
    def half(x: Tensor, timestep: Tensor) -> Tensor:
        return network(x, timestep).bfloat16()

    def rounded(x: Tensor, timestep: Tensor) -> Tensor:
        return half(x, timestep).float()

    run = [sample(net, NOISE, schedule, DDIM(), prediction=Prediction(kind)) for net in (half, rounded)]
    assert run[0].dtype == torch.float32
    assert torch.equal(*run)
    low = sample(network, NOISE.half(), schedule, DDIM(), prediction=Prediction(kind))
    assert low.dtype == torch.float16


def test_sample_keeps_no_gradients() -> None:
    weight = torch.ones((), requires_grad=True)
    result = sample(
        lambda x, t: weight * x, NOISE, flow_schedule(2, shift=5.0), FlowUniPC(), prediction=Prediction.VELOCITY
    )
    assert not result.requires_grad
    x, _ = integrate(lambda x, sigma: weight * x, NOISE, flow_schedule(3, shift=5.0), FlowUniPC())
    assert x.requires_grad


@pytest.mark.parametrize("solver", [FlowUniPC(), FlowUniPC(3), FlowUniPC(3, "bh1"), FlowDPMpp(), DDIM()], ids=repr)
def test_a_schedule_from_pure_noise_is_finite(solver) -> None:
    assert torch.isfinite(run(solver, dpmpp_schedule(8, shift=5.0))).all()


def test_guidance_of_one_calls_one_network() -> None:
    def never(x: Tensor, timestep: Tensor) -> Tensor:
        raise AssertionError("called")

    assert apply_guidance(network, never, 1.0) is network
    t = torch.tensor([500, 500])
    both = apply_guidance(network, lambda x, t: 0 * x, 3.0)(NOISE, t)
    torch.testing.assert_close(both, 3 * network(NOISE, t))


@pytest.mark.parametrize("solver", [FlowUniPC(), FlowUniPC(3), FlowDPMpp(), DDIM(), DDIM(eta=0.5)], ids=repr)
def test_no_allocation_is_larger_than_one_latent(solver) -> None:
    from wan_lite.benchmarks.allocations import measure_allocations
    from wan_lite.benchmarks.timing import Call

    noise = per_item_noise((1, 16, 1, 32, 32), 0)
    output = noise.clone()
    schedule = flow_schedule(6, shift=5.0)
    call = Call(lambda: sample(lambda x, t: output, noise, schedule, solver, prediction=Prediction.VELOCITY))
    largest, alive = measure_allocations(call, noise)
    assert largest <= 1
    # the old and the new history, the latent before and after, two differences (and the timesteps, a few bytes)
    assert alive <= 2 * solver.order + 4.1
