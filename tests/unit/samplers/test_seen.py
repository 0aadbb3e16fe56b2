"""What a host is about to sample against the contract of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from wan_lite.samplers import Prediction, SamplingContract, ddim_schedule, few_step_schedule, flow_schedule
from wan_lite.samplers.process import VE
from wan_lite.samplers.seen import SeenSampling, find_deviations, format_both_timesteps

FLOW = SamplingContract("flow_unipc", Prediction.VELOCITY, steps=20, shift=5.0, latent=(4, 8, 8), source="declared")
DDIM = SamplingContract("ddim", Prediction.EPSILON, steps=10, source="declared")
FEW = SamplingContract(
    "renoise", Prediction.VELOCITY, shift=5.0, denoising_steps=(1000, 750, 500, 250), timestep_cast="float",
    boundary=0.875, lora_strength=1.0,
)  # fmt: skip


def see(contract: SamplingContract, **changes: Any) -> SeenSampling:
    """What is sampled as the contract says, but for ``changes``; sigmas bring what a host feeds at them."""
    sigmas = (
        contract.schedule().sigmas
        if contract.process != DDIM.process
        else ddim_schedule(10, shift=1.0).to_process(VE).sigmas
    )
    sigmas = changes.pop("sigmas", sigmas)
    fed = contract.schedule().timesteps if contract.process == DDIM.process else 1000 * sigmas[:-1]
    seen = SeenSampling(
        sigmas, contract.prediction, fed, contract.solver, cfg=contract.cfg, latent=contract.latent, from_noise=True
    )
    return replace(seen, **changes)


def fields(contract: SamplingContract, **changes: Any) -> list[str]:
    return [mismatch.field for mismatch in find_deviations(contract, see(contract, **changes))]


@pytest.mark.parametrize("contract", [FLOW, DDIM, FEW])
def test_what_fits_is_not_mentioned(contract: SamplingContract) -> None:
    assert fields(contract) == []
    assert fields(contract, solver=None, cfg=None, latent=None) == [], "what a host does not tell"


@pytest.mark.parametrize(
    ("contract", "changes", "expected"),
    [
        (FLOW, {"sigmas": flow_schedule(20, shift=40.0).sigmas}, ["shift"]),
        (FLOW, {"sigmas": torch.tensor([0.99, 0.5, 0.2, 0.01, 0.0]), "shift": 8.0}, ["shift"]),
        (FLOW, {"sigmas": torch.tensor([0.9998, 0.5, 0.2, 0.01, 0.0]), "shift": 5.0}, []),
        (FLOW, {"sigmas": flow_schedule(7, shift=5.0).sigmas}, []),  # the number of steps is free
        (FLOW, {"sigmas": flow_schedule(7, shift=5.0, denoise=0.5).sigmas}, ["first sigma"]),
        (FLOW, {"sigmas": flow_schedule(7, shift=5.0, denoise=0.5).sigmas, "from_noise": False}, []),
        (FLOW, {"fed": FLOW.schedule().sigmas[:-1]}, ["timesteps"]),  # of a network that counts to 1
        (FLOW, {"solver": "core's euler"}, ["solver"]),
        (FLOW, {"cfg": 7.0}, ["cfg"]),
        (FLOW, {"latent": (4, 16, 8)}, ["latent"]),
        (FLOW, {"strengths": (0.3,)}, []),  # nothing is known of the LoRA
        (DDIM, {"fed": DDIM.schedule().timesteps + 50}, ["timesteps"]),
        (FEW, {"sigmas": flow_schedule(4, shift=8.0).sigmas}, ["timesteps"]),
        (FEW, {"sigmas": FEW.schedule().sigmas[2:], "from_noise": False}, []),  # a second stage
        (FEW, {"sigmas": FEW.schedule().sigmas[2:]}, ["first sigma"]),
        (FEW, {"fed": torch.tensor([1000.0, 937.0, 833.0, 625.0])}, ["timesteps"]),
        (FEW, {"strengths": (3.0,)}, ["lora_strength"]),
        (FEW, {"strengths": (0.5, 1.0)}, []),  # one of them is its own
        (replace(FEW, role="high"), {}, ["role"]),
        (replace(FEW, role="low"), {}, ["role"]),
        (replace(FEW, role="high"), {"is_shared": True}, []),
        (replace(FEW, role="high"), {"sigmas": FEW.schedule().sigmas[:3]}, []),
    ],
)
def test_deviations(contract: SamplingContract, changes: dict[str, Any], expected: list[str]) -> None:
    found = find_deviations(contract, see(contract, **changes))
    assert [mismatch.field for mismatch in found] == expected
    assert not any(mismatch.is_fatal for mismatch in found)


@pytest.mark.parametrize(("contract", "read"), [(FLOW, Prediction.EPSILON), (DDIM, Prediction.VELOCITY), (DDIM, "v")])
def test_an_output_read_as_another_prediction_is_fatal(contract: SamplingContract, read: Prediction | str) -> None:
    found = find_deviations(contract, see(contract, prediction=read, cfg=7.0))
    assert [(mismatch.field, mismatch.is_fatal) for mismatch in found] == [("prediction", True)]


def test_one_of_the_alternatives_will_do() -> None:
    both = replace(FEW, alternatives=(replace(FEW, solver="flow_euler"),))
    assert fields(both, solver="flow_euler") == []
    assert fields(both, solver="flow_euler", cfg=3.0) == ["cfg"]


def test_both_lists_of_timesteps() -> None:
    seen = see(FEW, sigmas=few_step_schedule([1000, 500], shift=5.0).sigmas)
    assert format_both_timesteps(FEW, seen) == ("Timesteps: trained [1000, 937.5, 833.333, 625], here [1000, 833.333].")
    assert format_both_timesteps(FEW, see(FEW)) == ""
