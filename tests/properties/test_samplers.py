"""What must hold for every schedule and every solver, not only for the recorded ones."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wan_lite.samplers import (
    DDIM,
    FLOW,
    VP,
    FlowDPMpp,
    FlowEuler,
    FlowUniPC,
    NoiseProcess,
    Prediction,
    Renoise,
    Schedule,
    Solver,
    ddim_schedule,
    dpmpp_schedule,
    flow_schedule,
    infer_shift,
    integrate,
    per_item_noise,
    sample,
    shift_sigma,
)
from wan_lite.samplers import SOLVERS as REGISTRY

# Add a solver here and every property below is asked of it.
SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "unipc1": FlowUniPC(order=1),
    "unipc2": FlowUniPC(),
    "unipc3": FlowUniPC(order=3),
    "unipc2-bh1": FlowUniPC(kind="bh1"),
    "unipc2-nocorr": FlowUniPC(disable_corrector=tuple(range(10_000))),
    "dpmpp1": FlowDPMpp(order=1),
    "dpmpp2": FlowDPMpp(),
    "ddim-eta": DDIM(eta=0.8, seed=2),
    "euler": FlowEuler(),
    "renoise": Renoise(seed=2),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
steps = st.integers(1, 1000)
shifts = st.floats(0.1, 50.0)
sigmas = st.floats(0.0, 1.0)


def network(x: Tensor, timestep: Tensor) -> Tensor:
    return torch.tanh(x) * torch.cos(timestep[0] / 1000) + 0.1 * x


def denoise(x: Tensor, sigma: float) -> Tensor:
    return torch.tanh(x) * (1.0 - 0.5 * sigma)


# Shift and schedules -------------------------------------------------------------------------------------------------


@given(sigmas)
def test_shift_one_is_the_identity(sigma: float) -> None:
    assert shift_sigma(sigma, 1.0) == sigma


@given(sigmas, shifts, shifts)
def test_shifts_compose_by_multiplication(sigma: float, a: float, b: float) -> None:
    assert math.isclose(shift_sigma(shift_sigma(sigma, b), a), shift_sigma(sigma, a * b), rel_tol=1e-12, abs_tol=1e-15)


@given(sigmas, shifts)
def test_shift_keeps_the_ends_and_the_range(sigma: float, shift: float) -> None:
    assert shift_sigma(0.0, shift) == 0.0
    assert math.isclose(shift_sigma(1.0, shift), 1.0, rel_tol=1e-15)
    assert 0.0 <= shift_sigma(sigma, shift) <= 1.0 + 1e-15


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 200), shifts)
def test_the_shift_is_found_in_the_sigmas(n: int, shift: float) -> None:
    assert infer_shift(flow_schedule(n, shift=shift).sigmas) == pytest.approx(shift, rel=1e-3)
    assert infer_shift(dpmpp_schedule(n, shift=shift).sigmas) == pytest.approx(shift, rel=1e-3)


@settings(max_examples=150, deadline=None)
@given(steps, shifts, st.sampled_from([flow_schedule, dpmpp_schedule, ddim_schedule]))
def test_sigmas_strictly_decrease_to_zero(n: int, shift: float, make) -> None:
    schedule = make(n, shift=shift)
    assert bool((schedule.sigmas.diff() < 0).all())
    assert schedule.sigma_values[-1] == 0.0
    assert schedule.sigma_values[0] <= 1.0
    assert bool((schedule.timesteps.diff() <= 0).all())
    assert schedule.timesteps[-1] >= 0
    assert schedule.timesteps[0] <= (1000 if make is dpmpp_schedule else 999)
    if make is ddim_schedule:
        assert 1 <= schedule.steps <= n
        assert bool((schedule.timesteps.diff() < 0).all())
    else:
        assert schedule.steps == n


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.floats(0.2, 20.0), st.floats(0.05, 1.0))
def test_image_to_image_keeps_the_number_of_steps(n: int, shift: float, denoise_share: float) -> None:
    schedule = flow_schedule(n, shift=shift, denoise=denoise_share)
    assert schedule.steps == n
    assert schedule.sigma_values[-1] == 0.0


# Solvers -------------------------------------------------------------------------------------------------------------


@every_solver
def test_a_constant_denoiser_reaches_x0_exactly(solver: Solver) -> None:
    x0 = per_item_noise((2, 4, 3, 3), 9).clamp(-0.9, 0.9)
    for schedule in (flow_schedule(7, shift=5.0), ddim_schedule(7, shift=1.0), dpmpp_schedule(1, shift=5.0)):
        result, _ = integrate(lambda x, sigma: x0, per_item_noise((2, 4, 3, 3), 1), schedule, solver)
        assert torch.equal(result, x0)


@every_solver
@settings(max_examples=12, deadline=None)
@given(n=st.integers(2, 12), data=st.data())
def test_a_cut_run_goes_on_exactly_where_its_state_is_handed_over(solver: Solver, n: int, data) -> None:
    noise, schedule = per_item_noise((1, 2, 3, 3), 5), flow_schedule(n, shift=3.0)
    cut = data.draw(st.integers(1, n - 1))
    whole, _ = integrate(denoise, noise, schedule, solver)
    part, state = integrate(denoise, noise, schedule, solver, stop=cut)
    rest, _ = integrate(denoise, part, schedule, solver, start=cut, state=state)
    assert torch.equal(rest, whole)


@every_solver
def test_the_first_half_of_a_split_schedule_is_the_first_half_of_the_run(solver: Solver) -> None:
    noise, whole = per_item_noise((1, 2, 3, 3), 5), flow_schedule(10, shift=5.0)
    first, second = whole.split(4)
    half, state = integrate(denoise, noise, whole, solver, stop=4)
    alone, _ = integrate(denoise, noise, first, solver)
    assert torch.equal(half, alone) or is_noisy_by_place(solver)
    if state is None and not is_noisy_by_place(solver):  # a method without memory needs none to continue
        again, _ = integrate(denoise, alone, second, solver)
        assert torch.equal(again, integrate(denoise, half, whole, solver, start=4)[0])


def is_noisy_by_place(solver: Solver) -> bool:
    """DDIM's fresh noise belongs to the index in the schedule at hand, so a part of it draws other noise."""
    return isinstance(solver, DDIM) and solver.eta > 0


@pytest.mark.parametrize("name", ["unipc1", "unipc2", "unipc3", "dpmpp2"])
def test_a_method_with_memory_continues_only_with_its_state(name: str) -> None:
    noise, whole = per_item_noise((1, 2, 3, 3), 5), flow_schedule(10, shift=5.0)
    half, _ = integrate(denoise, noise, whole, SOLVERS[name], stop=4)
    again, _ = integrate(denoise, half, whole.split(4)[1], SOLVERS[name])
    assert not torch.equal(again, integrate(denoise, noise, whole, SOLVERS[name])[0])


@pytest.mark.parametrize("name", ["unipc1", "unipc2", "unipc3", "dpmpp2"])
def test_a_state_of_another_place_is_refused(name: str) -> None:
    noise, schedule = per_item_noise((1, 2, 3, 3), 5), flow_schedule(10, shift=5.0)
    part, state = integrate(denoise, noise, schedule, SOLVERS[name], stop=4)
    with pytest.raises(ValueError, match=r"belongs before step 4, but step 6 was asked for; continue with start=4"):
        integrate(denoise, part, schedule, SOLVERS[name], start=6, state=state)


@every_solver
@settings(max_examples=8, deadline=None)
@given(n=st.integers(1, 8), batch=st.integers(1, 4))
def test_a_batch_equals_its_items(solver: Solver, n: int, batch: int) -> None:
    noise = per_item_noise((batch, 2, 3, 4), 0)
    together, _ = integrate(denoise, noise, flow_schedule(n, shift=5.0), solver)
    for item in range(batch):
        alone = replace(solver, seed=solver.seed + item) if isinstance(solver, DDIM | Renoise) else solver
        single, _ = integrate(denoise, noise[item : item + 1], flow_schedule(n, shift=5.0), alone)
        torch.testing.assert_close(together[item : item + 1], single, atol=1e-6, rtol=1e-6)


@every_solver
def test_one_solver_object_runs_twice_alike_and_changes_nothing(solver: Solver) -> None:
    noise, schedule = per_item_noise((2, 4, 6, 5), 0), flow_schedule(6, shift=5.0)
    noise_before, sigmas_before, solver_before = noise.clone(), schedule.sigmas.clone(), repr(solver)
    seen, outputs = [], []

    def watched(x: Tensor, sigma: float) -> Tensor:
        outputs.append(denoise(x, sigma))
        seen.append((x, x.clone(), outputs[-1], outputs[-1].clone()))
        return outputs[-1]

    first, _ = integrate(watched, noise, schedule, solver)
    second, _ = integrate(denoise, noise, schedule, solver)
    assert torch.equal(first, second)
    assert torch.equal(noise, noise_before)
    assert torch.equal(schedule.sigmas, sigmas_before)
    assert repr(solver) == solver_before
    assert all(torch.equal(x, x_then) and torch.equal(y, y_then) for x, x_then, y, y_then in seen)


def test_a_network_output_is_not_written_to() -> None:
    for kind, schedule in (
        (Prediction.EPSILON, ddim_schedule(4, shift=1.0)),
        (Prediction.VELOCITY, flow_schedule(4, shift=5.0)),
    ):
        outputs = []
        sample(
            lambda x, t, kept=outputs: (kept.append((out := network(x, t), out.clone())), out)[1],
            per_item_noise((1, 2, 3, 3), 0),
            schedule,
            DDIM(),
            prediction=kind,
        )
        assert all(torch.equal(out, then) for out, then in outputs)


# Order of convergence ------------------------------------------------------------------------------------------------


def error(solver: Solver, process: NoiseProcess, n: int) -> float:
    """Error after n steps on a Gaussian of deviation 0.5, whose exact denoiser and exact flow are known.

    x0 ~ N(0, c^2) gives x0(x) = alpha c^2 / (alpha^2 c^2 + sigma^2) x, and along the flow x scales with the deviation
    sqrt(alpha^2 c^2 + sigma^2). Levels are equally spaced in lambda, float64.
    """
    ends = [process.half_log_snr(sigma) for sigma in (0.9, 0.1)]
    lam = torch.linspace(*ends, n + 1, dtype=torch.float64)
    schedule = Schedule(process.from_ratio(torch.exp(-lam)), process)

    def variance(sigma: float) -> float:
        return process.alpha(sigma) ** 2 * 0.25 + sigma * sigma

    def exact(x: Tensor, sigma: float) -> Tensor:
        return x * (process.alpha(sigma) * 0.25 / variance(sigma))

    x, _ = integrate(exact, torch.ones(1, 1, dtype=torch.float64), schedule, solver)
    return abs(x.item() - math.sqrt(variance(schedule.sigma_values[-1]) / variance(schedule.sigma_values[0])))


@every_solver
def test_order_of_convergence(solver: Solver) -> None:
    """The error falls at least as fast as declared in both processes, and in one of them not faster.

    UniPC of order 3 nears its 3 from above: the one error of its first step is small beside the others (3.98 and 3.17).
    """
    if solver.convergence_order is None:
        assert error(solver, FLOW, 20) != error(replace(solver, seed=77), FLOW, 20)  # type: ignore[type-var]
        return
    slopes = [math.log2(error(solver, process, 320) / error(solver, process, 640)) for process in (FLOW, VP)]
    assert min(slopes) == pytest.approx(solver.convergence_order, abs=0.2)


def test_unipc3_is_nearer_than_unipc2() -> None:
    for process in (FLOW, VP):
        assert error(SOLVERS["unipc3"], process, 40) < error(SOLVERS["unipc2"], process, 40)


def test_every_registered_solver_is_asked() -> None:
    assert {type(solver) for solver in SOLVERS.values()} == set(REGISTRY.values())
    assert {name: solver.name for name, solver in REGISTRY.items()} == {name: name for name in REGISTRY}


def test_declared_orders() -> None:
    """FlowUniPC's is 3: order 2, and one more from the corrector."""
    declared = {name: make().convergence_order for name, make in REGISTRY.items()}
    assert (declared["ddim"], declared["flow_dpmpp"], declared["flow_unipc"]) == (1, 2, 3)
