"""The student against the training repository's own network and samplers (vectors in tests/vectors/student_*)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_lite.models import load_student
from wan_lite.models.student import Student, pool_text
from wan_lite.models.student.network import timestep_embedding
from wan_lite.samplers import DDIM, FlowUniPC, Prediction, SamplingContract, ddim_schedule, flow_schedule, sample

VECTORS = Path(__file__).parents[1] / "vectors"
FORWARD_TOLERANCE = 1e-5
TRAJECTORY_TOLERANCE = 1e-5  # relative to the trajectory's maximum

RUNS = {
    "ddim10": (ddim_schedule(10, shift=1.0), DDIM(), Prediction.EPSILON),
    "ddim20": (ddim_schedule(20, shift=1.0), DDIM(), Prediction.EPSILON),
    "ddim7": (ddim_schedule(7, shift=1.0), DDIM(), Prediction.EPSILON),
    "unipc20_shift5": (flow_schedule(20, shift=5.0), FlowUniPC(), Prediction.VELOCITY),
    "unipc4_shift3": (flow_schedule(4, shift=3.0), FlowUniPC(), Prediction.VELOCITY),
}


@pytest.fixture(params=[4, 16])
def case(request: pytest.FixtureRequest) -> tuple[Student, dict[str, Tensor]]:
    folder = VECTORS / f"student_{request.param}ch"
    return load_student(folder), load_file(folder / "golden.safetensors")


def test_forward(case: tuple[Student, dict[str, Tensor]]) -> None:
    student, golden = case
    out = student.network(golden["fwd.latent"], golden["fwd.timestep"], golden["fwd.text"])
    assert (out - golden["fwd.out"]).abs().max() <= FORWARD_TOLERANCE


def test_the_embeddings_inside(case: tuple[Student, dict[str, Tensor]]) -> None:
    student, golden = case
    network = student.network
    angles = timestep_embedding(golden["fwd.timestep"], student.config.hidden_size)
    assert (angles - golden["fwd.sincos"]).abs().max() <= 1e-4  # sines of arguments up to 999 in float32
    assert (network.time_embed(golden["fwd.sincos"]) - golden["fwd.t_emb"]).abs().max() <= FORWARD_TOLERANCE
    assert (network.text_proj(pool_text(golden["fwd.text"])) - golden["fwd.text_emb"]).abs().max() <= FORWARD_TOLERANCE


def test_padding_no_longer_changes_the_prediction(case: tuple[Student, dict[str, Tensor]]) -> None:
    """The original averages over padding; here a padded prompt equals the prompt alone, and not the original."""
    student, golden = case
    rows = golden["fwd.text"][:1]
    padded = torch.cat([rows, torch.zeros_like(rows)], dim=1)
    out = student.network(golden["fwd.latent"][:1], golden["fwd.timestep"][:1], padded)
    assert (out - golden["fwd.out"][:1]).abs().max() <= FORWARD_TOLERANCE
    assert (out - golden["fwd.out_padded"]).abs().max() > 0.1


@pytest.mark.parametrize("run", RUNS)
def test_trajectory(case: tuple[Student, dict[str, Tensor]], run: str) -> None:
    student, golden = case
    expected = golden[f"{run}.traj"]
    schedule, solver, prediction = RUNS[run]
    inputs, fed = [], []

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        inputs.append(x.clone())
        fed.append(int(timestep[0]))
        return student.network(x, timestep, golden["text"][None])

    final = sample(network, golden["noise"], schedule, solver, prediction=prediction)
    assert fed == golden[f"{run}.timesteps"].tolist()
    difference = (torch.stack([*inputs, final]) - expected).abs().max()
    assert difference <= TRAJECTORY_TOLERANCE * expected.abs().max()
    if f"{run}.vae_input" in golden:
        projected = golden[f"{run}.vae_input"]
        assert (student.to_vae_latent(final) - projected).abs().max() <= TRAJECTORY_TOLERANCE * projected.abs().max()


@pytest.fixture(params=[4, 16])
def spoken(request: pytest.FixtureRequest) -> tuple[Student, dict[str, Tensor]]:
    """A student and what the training repository made of two prompts in bfloat16."""
    vectors = load_file(VECTORS / "text" / "bf16.safetensors")
    own = {key.removeprefix(f"{request.param}."): value for key, value in vectors.items()}
    return load_student(VECTORS / f"student_{request.param}ch"), own


def test_text_in_bfloat16_is_averaged_in_its_own_type(spoken: tuple[Student, dict[str, Tensor]]) -> None:
    student, golden = spoken
    prompts = [golden["rows_25"], golden["rows_6"]]
    pooled = pool_text(prompts)
    assert torch.equal(pooled, golden["pooled"])
    in_float32 = pool_text([rows.float() for rows in prompts])
    assert (in_float32 - golden["pooled"]).abs().max() > 1e-4, "the vectors would not notice the rounding"
    out = student.network(golden["latent"], golden["timestep"], prompts)
    assert (out - golden["forward"]).abs().max() <= FORWARD_TOLERANCE


def test_a_preview_of_two_prompts_is_averaged_over_the_longer_one(spoken: tuple[Student, dict[str, Tensor]]) -> None:
    student, golden = spoken
    contract = SamplingContract("ddim", Prediction.EPSILON, steps=10, text_pool="mean_padded", text_length=25)
    text = pool_text([golden["rows_25"], golden["rows_6"]], contract.text_length)
    schedule, solver = contract.schedule(), contract.make_solver()
    final = sample(
        lambda x, t: student.network(x, t, text), golden["noise"], schedule, solver, prediction=contract.prediction
    )
    expected = golden["preview_latents"]
    assert (final - expected).abs().max() <= TRAJECTORY_TOLERANCE * expected.abs().max()
    assert (final[1] - golden["alone_1"]).abs().max() > 0.01 * expected.abs().max(), "padding would not be noticed"


@pytest.mark.parametrize("item", [0, 1])
def test_previews_of_text_in_bfloat16(spoken: tuple[Student, dict[str, Tensor]], item: int) -> None:
    student, golden = spoken
    rows, expected = [golden["rows_25"], golden["rows_6"]][item], golden[f"alone_{item}"]

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        return student.network(x, timestep, [rows])

    schedule = ddim_schedule(10, shift=1.0)
    final = sample(network, golden["noise"][item : item + 1], schedule, DDIM(), prediction=Prediction.EPSILON)[0]
    assert (final - expected).abs().max() <= TRAJECTORY_TOLERANCE * expected.abs().max()
