"""From a student, a VAE and text to pictures, with no ComfyUI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from wan_lite.models import load_student, load_wan_vae
from wan_lite.models.student import Student
from wan_lite.models.wan_vae.vae import WanVAE
from wan_lite.pipeline.contracts import Overrides, resolve_contract
from wan_lite.pipeline.generation import Prompts, decode_images, generate, sample_latents, save_png
from wan_lite.pipeline.pictures.convert import to_uint8
from wan_lite.samplers import PRESETS, ContractMismatch, Prediction, SamplingContract, format_contract

VECTORS = Path(__file__).parents[2] / "vectors"
DDIM = "ddim-10 training preview"
FLOW = "flow_unipc-20 shift 5"


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return load_wan_vae(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")


@pytest.fixture(scope="module")
def student() -> Student:
    return load_student(VECTORS / "student_4ch", preset=FLOW)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(VECTORS / "student_4ch" / "golden.safetensors")


def a_text(tokens: int, seed: int) -> Tensor:
    return torch.randn(tokens, 24, generator=torch.Generator().manual_seed(seed))


def test_pictures_have_the_true_size_and_range(student: Student, vae: WanVAE) -> None:
    seen: list[int] = []
    images = generate(student, vae, [a_text(5, 0)], seed=3, batch=2, on_step=lambda i, x, x0: seen.append(i))
    assert images.shape == (2, 32, 32, 3)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert seen == list(range(20))


def test_decoding_is_the_vae_on_the_projected_latent(student: Student, vae: WanVAE, golden: dict[str, Tensor]) -> None:
    final = golden["unipc20_shift5.traj"][-1]
    expected = vae.decode(golden["unipc20_shift5.vae_input"][:, :, None])[0, :, 0]
    image = decode_images(student, vae, final)[0]
    assert (image.permute(2, 0, 1) - (expected + 1) / 2).abs().max() <= 2e-5


def test_a_picture_does_not_depend_on_its_batch(student: Student) -> None:
    texts = [a_text(12, 1), a_text(60, 2), a_text(7, 3)]
    together = sample_latents(student, texts, seed=40, batch=3)
    for index, text in enumerate(texts):
        alone = sample_latents(student, [text], seed=40 + index)
        assert (together[index : index + 1] - alone).abs().max() <= 1e-5 * max(1.0, alone.abs().max().item())


def test_one_text_for_a_batch_is_that_text_for_each_picture_to_the_last_bit(student: Student) -> None:
    text = a_text(12, 1)
    shared, repeated = (sample_latents(student, texts, seed=40, batch=3) for texts in ([text], [text] * 3))
    assert torch.equal(shared, repeated)


def test_the_starting_noise_is_wans_own_for_the_seed(student: Student) -> None:
    first: list[Tensor] = []
    one_step = replace(student.contract, steps=1)
    network = student.network

    class Recording(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config, self.conv_in = network.config, network.conv_in

        def forward(self, x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
            first.append(x)
            return network(x, timestep, text)

    recording = Student(Recording(), output_proj=student.output_proj, contract=student.contract)
    sample_latents(recording, [a_text(3, 0)], contract=one_step, seed=11)
    expected = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(11))
    assert torch.equal(first[0][0], expected)


def test_guidance_steers_away_from_the_negative_text(student: Student) -> None:
    positive, negative = a_text(5, 1), a_text(6, 2)
    guided = replace(student.contract, cfg=3.0)
    plain = sample_latents(student, [positive])
    assert torch.equal(plain, sample_latents(student, Prompts([positive], [negative])))
    same = sample_latents(student, Prompts([positive], [positive]), contract=guided)
    assert (same - plain).abs().max() <= 1e-4 * plain.abs().max()
    assert (sample_latents(student, Prompts([positive], [negative]), contract=guided) - plain).abs().max() > 0.01
    with pytest.raises(ValueError, match="cfg is 3, which needs a negative text"):
        sample_latents(student, [positive], contract=guided)


def test_what_cannot_be_painted_is_a_sentence(student: Student, vae: WanVAE) -> None:
    text = [a_text(3, 0)]
    with pytest.raises(ValueError, match="batch is 0"):
        generate(student, vae, text, batch=0)
    with pytest.raises(ValueError, match="text holds 2 prompts for 3 images"):
        generate(student, vae, text * 2, batch=3)
    with pytest.raises(ValueError, match="has no sampling contract"):
        generate(load_student(VECTORS / "student_4ch"), vae, text)
    other = load_wan_vae(VECTORS / "wan_vae" / "wan22_tiny_official.safetensors")
    with pytest.raises(
        ValueError, match=r"vae has 48 channels \(wan2\.2\), but .* samples latents of 16; choose the Wan"
    ):
        generate(student, other, text)


def test_a_png_carries_its_notes(tmp_path: Path) -> None:
    image = torch.rand(4, 6, 3)
    save_png(image, tmp_path / "new" / "a.png", {"wan_lite.seed": 3, "wan_lite.caption": "ein Kreis, 圆"})
    with Image.open(tmp_path / "new" / "a.png") as saved:
        assert np.array_equal(np.asarray(saved), to_uint8(image))
        assert json.loads(saved.text["wan_lite.seed"]) == 3
        assert json.loads(saved.text["wan_lite.caption"]) == "ein Kreis, 圆"


# --- which contract ---------------------------------------------------------------------------------------------------


def declared(student: Student, preset: str) -> Student:
    contract = replace(PRESETS[preset], source="declared", output_projection=True, latent=(4, 4, 4))
    return Student(student.network, output_proj=student.output_proj, contract=contract, source="mine")


def test_without_wishes_the_contract_decides(student: Student) -> None:
    assert resolve_contract(declared(student, FLOW), Overrides()) == declared(student, FLOW).contract


def test_the_number_of_steps_is_the_users(student: Student) -> None:
    contract = resolve_contract(declared(student, FLOW), Overrides(steps=4))
    assert (contract.steps, contract.source) == (4, "assumed"), "not all of it was declared"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(size="64x40"), "latent: the checkpoint's contract says 4x4x4, but 4x5x8 was asked for"),
        (Overrides(cfg=7.0), "cfg: the checkpoint's contract says 1.0, but 7.0 was asked for"),
    ],
)
def test_another_size_or_guidance_than_declared_is_a_mismatch(
    student: Student, overrides: Overrides, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ContractMismatch, match=message):
        resolve_contract(declared(student, FLOW), overrides)
    assert resolve_contract(declared(student, FLOW), overrides, on_mismatch="ignore").source == "assumed"
    assert not caplog.records
    resolve_contract(declared(student, FLOW), overrides, on_mismatch="warn")
    assert message in caplog.text


@pytest.mark.parametrize("own", [DDIM, FLOW])
@pytest.mark.parametrize("asked", ["ddim", "flow-unipc"])
@pytest.mark.parametrize("on_mismatch", ["error", "warn", "ignore"])
def test_the_mismatch_matrix(
    student: Student, own: str, asked: str, on_mismatch: str, caplog: pytest.LogCaptureFixture
) -> None:
    fits = own.startswith("ddim") == (asked == "ddim")
    if not fits and on_mismatch == "error":
        with pytest.raises(ContractMismatch, match=r"contract says .* was asked for.*--on-mismatch warn"):
            resolve_contract(declared(student, own), Overrides(sampler=asked), on_mismatch=on_mismatch)
        return
    contract = resolve_contract(declared(student, own), Overrides(sampler=asked), on_mismatch=on_mismatch)
    assert contract.solver == asked.replace("-", "_")
    assert contract.prediction == ("epsilon" if asked == "ddim" else "velocity")
    assert contract.source == ("declared" if fits else "assumed")
    assert bool(caplog.records) == (not fits and on_mismatch == "warn")


def test_another_shift_than_declared_is_a_mismatch(student: Student) -> None:
    with pytest.raises(ContractMismatch, match=r"shift: the checkpoint's contract says 5\.0, but 8\.0 was asked for"):
        resolve_contract(declared(student, FLOW), Overrides(shift=8.0))


def test_an_assumed_contract_may_be_changed_freely(student: Student) -> None:
    contract = resolve_contract(student, Overrides(sampler="ddim", shift=2.0))
    assert (contract.solver, contract.steps, contract.shift, contract.source) == ("ddim", 20, 2.0, "assumed")


def test_a_preset_takes_on_the_students_geometry(student: Student) -> None:
    contract = resolve_contract(student, Overrides(preset=DDIM))
    assert (contract.latent, contract.output_projection, contract.vae) == ((4, 4, 4), True, "wan2.1")
    assert format_contract(contract).startswith("ddim, 10 steps, shift 1, cfg 1, output read as epsilon, latent 4x4x4")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (Overrides(preset="ddim"), "contract is 'ddim'; known presets are"),
        (Overrides(sampler="ddim", steps=0), "steps is 0"),
        (Overrides(sampler="ddim", shift=0.0), "shift is 0"),
        (Overrides(sampler="ddim", shift=-1.0), "shift is -1"),
        (Overrides(sampler="ddim", shift=float("nan")), "shift is nan"),
        (Overrides(size="33x32"), "size is '33x32'; give WIDTHxHEIGHT in pixels, both multiples of 8"),
        (Overrides(size="0x32"), "size is '0x32'"),
        (Overrides(size="big"), "size is 'big'"),
    ],
)
def test_impossible_overrides_are_sentences(student: Student, overrides: Overrides, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        resolve_contract(student, overrides)


def test_no_contract_and_no_wish_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"says nothing about how to sample it; give --sampler ddim"):
        resolve_contract(load_student(VECTORS / "student_4ch"), Overrides())
    with pytest.raises(ValueError, match="on_mismatch is 'maybe'"):
        resolve_contract(load_student(VECTORS / "student_4ch"), Overrides(), on_mismatch="maybe")


# --- students of few steps --------------------------------------------------------------------------------------------

RENOISE = SamplingContract(
    "renoise",
    Prediction.VELOCITY,
    shift=5.0,
    denoising_steps=(1000, 750, 500, 250),
    timestep_cast="float",
    latent=(4, 4, 4),
    output_projection=True,
    source="declared",
)


@pytest.fixture
def few(student: Student) -> Student:
    return Student(student.network, output_proj=student.output_proj, contract=RENOISE, source="mine")


def test_a_student_of_few_steps_is_sampled_at_its_own_timesteps(few: Student) -> None:
    fed: list[float] = []
    hook = few.network.register_forward_pre_hook(lambda network, given: fed.append(given[1][0].item()))
    text = [torch.randn(5, 24)]
    both = sample_latents(few, text, batch=2, seed=3)
    hook.remove()
    assert fed == [1000.0, 937.5, pytest.approx(833.3333), 625.0]
    torch.testing.assert_close(sample_latents(few, text, seed=4), both[1:], atol=1e-5, rtol=0)
    assert not torch.equal(sample_latents(few, text, seed=3), sample_latents(few, text, seed=5))


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (Overrides(steps=8), "timesteps: .* says .1000, 937.5, 833.333, 625., but .1000, 972.222,"),
        (Overrides(shift=8.0), "timesteps: .*but .1000, 960, 888.889, 727.273."),
        (Overrides(cfg=3.0), "cfg: .* says 1.0, but 3.0"),
        (Overrides(sampler="flow-euler"), "solver: .* says renoise, but flow_euler"),
        (Overrides(sampler="flow-unipc"), "solver: .* says renoise, but flow_unipc"),
        (Overrides(sampler="ddim"), "solver: .* says renoise, but ddim"),
    ],
)
def test_what_such_a_student_never_saw_is_a_mismatch(few: Student, overrides: Overrides, found: str) -> None:
    with pytest.raises(ContractMismatch, match=found):
        resolve_contract(few, overrides)
    wanted = resolve_contract(few, overrides, on_mismatch="ignore")
    assert wanted.source == "assumed"
    assert wanted.schedule().steps == (overrides.steps or 4 if overrides.sampler != "ddim" else 20)


def test_another_solver_keeps_the_sigmas_of_training(few: Student) -> None:
    wanted = resolve_contract(few, Overrides(sampler="flow-euler"), on_mismatch="ignore")
    assert (wanted.solver, wanted.denoising_steps) == ("flow_euler", RENOISE.denoising_steps)
