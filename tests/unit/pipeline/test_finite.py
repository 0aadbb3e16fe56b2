"""An image that cannot be right is an error that names the step and the tensor."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wan_lite.models import load_student, load_wan_vae
from wan_lite.models.finite import NonFiniteError, check_finite
from wan_lite.models.student.student import Student
from wan_lite.models.wan_vae.vae import WanVAE
from wan_lite.pipeline.generation import decode_images, generate, sample_latents
from wan_lite.samplers.contract import PRESETS

VECTORS = Path(__file__).parents[2] / "vectors"
FLOW = "flow_unipc-20 shift 5"
STEPS = 4


@pytest.fixture
def student() -> Student:
    student = load_student(VECTORS / "student_4ch", preset=FLOW)
    student.contract = replace(PRESETS[FLOW], steps=STEPS)
    return student


@pytest.fixture
def vae() -> WanVAE:
    return load_wan_vae(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")


def text(value: float = 1.0) -> list[torch.Tensor]:
    return [torch.full((3, 24), value)]


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_text_that_overflows_is_named(student: Student, value: float) -> None:
    with pytest.raises(NonFiniteError, match="text, averaged over its tokens, holds 24 of 24 values"):
        sample_latents(student, text(value))


def test_huge_weights_are_named_with_the_first_step(student: Student, vae: WanVAE) -> None:
    student.network.conv_out.weight.fill_(3e38)
    with pytest.raises(NonFiniteError, match=f"latent is NaN or infinite from step 1 of {STEPS} on"):
        generate(student, vae, text())


def test_an_overflow_on_the_way_names_its_step(student: Student) -> None:
    calls: list[int] = []
    forward = student.network.forward

    def overflow_later(x: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        calls.append(int(timestep[0]))
        return forward(x, timestep, condition) * (math.inf if len(calls) == 3 else 1)

    student.network.forward = overflow_later  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match=f"from step 3 of {STEPS} on"):
        sample_latents(student, text())
    assert len(calls) == STEPS


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_that_overflows_is_named(student: Student, vae: WanVAE, value: float) -> None:
    # clamping would make white of infinity
    vae.decoder.head._modules["2"].weight.data.fill_(value)
    with pytest.raises(NonFiniteError, match="decoded image holds 3072 of 3072 values"):
        decode_images(student, vae, torch.zeros(1, 4, 4, 4))


def test_large_values_that_are_finite_pass() -> None:
    check_finite(torch.full((100,), 3e38), "x", "")
    with pytest.raises(NonFiniteError, match="x holds 1 of 2"):
        check_finite(torch.tensor([0.0, math.inf]), "x", "")
