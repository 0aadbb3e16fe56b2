"""Sampling from an image: the known ends of denoise and mask, and a student of fewer channels than the VAE."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wan_lite.models import load_student, load_wan_vae
from wan_lite.models.finite import NonFiniteError
from wan_lite.models.student import Student
from wan_lite.models.wan_vae.vae import WanVAE
from wan_lite.pipeline.generation import Variation, sample_latents
from wan_lite.pipeline.image_to_image import Start, encode_start
from wan_lite.samplers import Prediction, per_item_noise, sample
from wan_lite.samplers.contract import PRESETS, SamplingContract

VECTORS = Path(__file__).parents[2] / "vectors"
FLOW, DDIM = "flow_unipc-20 shift 5", "ddim-20 run_inference"
TEXT = [torch.ones(3, 24)]


@pytest.fixture(params=[FLOW, DDIM])
def contract(request: pytest.FixtureRequest) -> SamplingContract:
    return replace(PRESETS[request.param], steps=6)


@pytest.fixture(scope="module")
def student() -> Student:
    return load_student(VECTORS / "student_4ch", preset=FLOW)


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return load_wan_vae(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")


@pytest.fixture(scope="module")
def latent() -> torch.Tensor:
    return torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(9))


def run(student: Student, contract: SamplingContract, start: Start | None, batch: int = 2) -> torch.Tensor:
    return sample_latents(student, TEXT, contract=contract, variation=Variation(start), seed=3, batch=batch)


def test_all_of_the_schedule_on_an_image_is_sampling_from_noise(
    student: Student, contract: SamplingContract, latent: torch.Tensor
) -> None:
    assert torch.equal(run(student, contract, Start(latent)), run(student, contract, None))
    everywhere = run(student, contract, Start(latent, mask=torch.ones(1, 1, 4, 4)))
    torch.testing.assert_close(everywhere, run(student, contract, None), atol=1e-4, rtol=1e-4)


def test_a_part_of_the_schedule_starts_from_the_noised_image(
    student: Student, contract: SamplingContract, latent: torch.Tensor
) -> None:
    schedule = contract.schedule(denoise=0.5)
    noise = per_item_noise((2, 4, 4, 4), 3)
    text = torch.ones(2, 24)
    wanted = sample(
        lambda x, t: student.network(x, t, text),
        schedule.process.add_noise(latent.expand(2, -1, -1, -1), noise, schedule.sigma_values[0]),
        schedule,
        contract.make_solver(),
        prediction=Prediction(contract.prediction),
    )
    assert torch.equal(run(student, contract, Start(latent, 0.5)), wanted)
    # the less of the schedule, the nearer to the image
    apart = [float((run(student, contract, Start(latent, part)) - latent).square().mean()) for part in (0.2, 0.5, 1)]
    assert apart == sorted(apart)


@pytest.mark.parametrize("denoise", [0.5, 1.0])
def test_what_the_mask_keeps_comes_out_as_it_went_in(
    denoise: float, student: Student, contract: SamplingContract, latent: torch.Tensor
) -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 2:] = 1
    found = run(student, contract, Start(latent, denoise, mask))
    torch.testing.assert_close(found[..., :2], latent[..., :2].expand(2, -1, -1, -1))
    assert (found[..., 2:] - latent[..., 2:]).abs().min() > 1e-3


def test_a_batch_does_not_change_an_image(student: Student, contract: SamplingContract, latent: torch.Tensor) -> None:
    start = Start(latent, 0.5, torch.full((1, 1, 4, 4), 0.5))
    torch.testing.assert_close(run(student, contract, start)[:1], run(student, contract, start, batch=1))


def test_an_image_is_encoded_to_the_nearest_latent_of_the_student(student: Student, vae: WanVAE) -> None:
    image = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0))
    start = encode_start(student, vae, image, denoise=0.3, mask=torch.ones(64, 64))
    assert start.latent.shape == (1, 4, 4, 4) and start.denoise == 0.3
    assert torch.equal(start.mask, torch.ones(1, 1, 4, 4))
    wanted = vae.encode(image.permute(2, 0, 1)[None, :, None] * 2 - 1)[:, :, 0]
    nearest = (student.to_vae_latent(start.latent) - wanted).square().sum()
    for change in torch.eye(4).view(4, 1, 4, 1, 1):
        for sign in (-0.01, 0.01):
            assert (student.to_vae_latent(start.latent + sign * change) - wanted).square().sum() > nearest
    torch.testing.assert_close(student.from_vae_latent(student.to_vae_latent(start.latent)), start.latent)


def test_what_cannot_be_started_from_is_said(student: Student, vae: WanVAE) -> None:
    image = torch.rand(32, 32, 3)
    for denoise in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="denoise is"):
            encode_start(student, vae, image, denoise=denoise)
    with pytest.raises(ValueError, match="33"):
        encode_start(student, vae, torch.rand(33, 32, 3))
    image[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="the image holds 3 of 3072 values"):
        encode_start(student, vae, image)


def test_settings_of_ddim_belong_to_ddim(student: Student) -> None:
    ddim, flow = (replace(PRESETS[name], steps=4) for name in (DDIM, FLOW))
    plain = sample_latents(student, TEXT, contract=ddim, seed=1)
    noisy = sample_latents(student, TEXT, contract=ddim, seed=1, variation=Variation(eta=1.0))
    clipped = sample_latents(student, TEXT, contract=ddim, seed=1, variation=Variation(clip_x0=0.1))
    assert not torch.equal(noisy, plain) and clipped.abs().max() <= 0.1 + 1e-6
    # the added noise is the item's own, whatever the batch
    both = sample_latents(student, TEXT, contract=ddim, seed=0, batch=2, variation=Variation(eta=1.0))
    torch.testing.assert_close(both[1:], noisy, atol=1e-4, rtol=1e-4)
    for variation in (Variation(eta=0.5), Variation(clip_x0=1.0)):
        with pytest.raises(ValueError, match="which only ddim has, but the solver is flow_unipc"):
            sample_latents(student, TEXT, contract=flow, variation=variation)
