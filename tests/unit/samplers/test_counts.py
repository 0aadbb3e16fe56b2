"""What a solver's step costs beside the network, and what it makes the host wait for, counted on the meta device."""

from __future__ import annotations

import pytest
import torch

from wan_lite.benchmarks.counting import Counts, count_calls
from wan_lite.samplers import (
    DDIM,
    FlowDPMpp,
    FlowEuler,
    FlowUniPC,
    Prediction,
    Renoise,
    apply_guidance,
    combine_experts,
    ddim_schedule,
    flow_schedule,
    sample,
)
from wan_lite.samplers.schedule import Schedule
from wan_lite.samplers.solver import Network, Solver

STEPS = 10
LATENT = torch.empty(1, 16, 1, 64, 64, device="meta")


def count_run(solver: Solver, schedule: Schedule, prediction: Prediction, network: Network) -> Counts:
    with count_calls() as counts:
        sample(network, LATENT, schedule, solver, prediction=prediction)
    return counts


def same(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    return LATENT


@pytest.mark.parametrize(
    ("solver", "launches", "latents_moved", "peak"),
    [
        (FlowUniPC(), 13, 33, 8),
        (FlowUniPC(order=3), 16, 45, 10),
        (FlowDPMpp(), 6, 14, 5),
        (FlowEuler(), 4, 9, 3),
        (DDIM(), 7, 18, 5),
        (DDIM(eta=0.5), 9, 22, 6),
        (Renoise(), 6, 12, 4),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_a_step_is_a_few_launches(solver: Solver, launches: int, latents_moved: int, peak: int) -> None:
    """In latents: what is read and written for each step, and the most that are alive besides input and output."""
    vp = isinstance(solver, DDIM) and not solver.eta
    schedule = ddim_schedule(STEPS, shift=1.0) if vp else flow_schedule(STEPS, shift=5.0)
    counts = count_run(solver, schedule, Prediction.EPSILON if vp else Prediction.VELOCITY, same)
    assert counts.kernels <= launches * STEPS
    assert sum(counts.bytes.values()) <= latents_moved * LATENT.nbytes * STEPS
    assert counts.peak <= peak * LATENT.nbytes + 4096
    assert counts.host_reads == counts.copies_to_host == 0
    assert set(counts.mixed) <= {"_to_copy"}  # fresh noise, which is drawn on the CPU


def test_two_experts_are_chosen_by_a_number_that_is_not_read() -> None:
    asked: list[str] = []

    def make(name: str) -> Network:
        def network(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            asked.append(name)
            return LATENT

        return apply_guidance(network, same, 3.0)

    both = combine_experts(make("high"), make("low"), boundary=0.875)
    counts = count_run(FlowUniPC(), flow_schedule(STEPS, shift=12.0), Prediction.VELOCITY, both)
    assert counts.host_reads == 0
    assert asked == sorted(asked) and set(asked) == {"high", "low"}
    by_hand = torch.tensor([876, 874])
    with count_calls("cpu") as read:
        both(LATENT, by_hand[:1])
        both(LATENT, by_hand[1:])
    assert asked[-2:] == ["high", "low"] and read.host_reads > 0
