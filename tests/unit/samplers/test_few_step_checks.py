"""What speaks against a few-step file where it is: the other expert, another strength, other timesteps."""

from __future__ import annotations

import pytest
import torch

from wan_lite.models.known_students import load_known_students
from wan_lite.samplers import SamplingContract
from wan_lite.samplers.mismatch import check_fed, check_role, check_strength


def contract_of(student: str) -> SamplingContract:
    contract = load_known_students().students[student].contract()
    assert contract is not None
    return contract


@pytest.mark.parametrize(("role", "place"), [("high", "low"), ("low", "high")])
def test_a_file_on_the_other_expert(role: str, place: str) -> None:
    found = check_role(role, place, "lora.safetensors")
    assert found is not None and found.startswith("lora.safetensors: ") and "swapped" in found


@pytest.mark.parametrize(("role", "place"), [("high", "high"), ("both", "low"), (None, "low"), ("high", None)])
def test_a_file_in_its_place(role: str | None, place: str | None) -> None:
    assert check_role(role, place, "lora.safetensors") is None


def test_the_strength_of_training() -> None:
    contract = contract_of("lightx2v-wan2.1")
    assert check_strength(contract, 1.0) is None and check_strength(None, 0.3) is None
    found = check_strength(contract, 0.5)
    assert found is not None and "strength 1" in found and "0.5" in found


@pytest.mark.parametrize(
    ("student", "fits"), [("lightx2v-wan2.1", True), ("causvid-bidirectional", False), ("rcm-t2v", False)]
)
def test_what_core_feeds_at_the_levels_of_training(student: str, fits: bool) -> None:
    schedule = contract_of(student).schedule()
    assert (check_fed(schedule, schedule.sigmas[:-1].float() * 1000) is None) == fits
    assert schedule.timesteps is not None and check_fed(schedule, schedule.timesteps.to(torch.float32)) is None
