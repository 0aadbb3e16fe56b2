"""LoRA files merged into a student: the formula, the names of all layouts, and what does not belong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wan_lite.models import CheckpointError, load_student, merge_lora
from wan_lite.models.student import Student

STUDENT = Path(__file__).parents[3] / "vectors" / "student_4ch"
RANK, ALPHA, STRENGTH = 2, 1.0, 0.5


@pytest.fixture
def student() -> Student:
    return load_student(STUDENT, preset="ddim-20 run_inference")


def factors(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Down and up of a random change of a weight."""
    down = torch.randn(RANK, *weight.shape[1:], generator=torch.Generator().manual_seed(1))
    up = torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2), generator=torch.Generator().manual_seed(2))
    return down, up


@pytest.mark.parametrize("layer", ["blocks.0.mlp.0", "blocks.0.attn.in_proj", "text_proj", "conv_in"])
@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "lora_unet_"])
@pytest.mark.parametrize("names", [("lora_down", "lora_up"), ("lora_A", "lora_B")])
def test_a_change_is_added_as_the_formula_says(
    layer: str, prefix: str, names: tuple[str, str], student: Student, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in student.network.state_dict().items()}
    down, up = factors(before[f"{layer}.weight"])
    base = f"{prefix}{layer.replace('.', '_') if prefix == 'lora_unet_' else layer}"
    tensors = {f"{base}.{names[0]}.weight": down, f"{base}.{names[1]}.weight": up, f"{base}.alpha": torch.tensor(ALPHA)}
    save_file(tensors, tmp_path / "lora.safetensors")
    assert merge_lora(student.network, tmp_path / "lora.safetensors", STRENGTH) == 1
    after = student.network.state_dict()
    change = STRENGTH * ALPHA / RANK * torch.einsum("or,r...->o...", up.flatten(1), down)
    torch.testing.assert_close(after.pop(f"{layer}.weight"), before.pop(f"{layer}.weight") + change)
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_without_alpha_the_scale_is_the_strength_and_zero_changes_nothing(student: Student, tmp_path: Path) -> None:
    weight = student.network.text_proj.weight.clone()
    down, up = factors(weight)
    save_file({"text_proj.lora_down.weight": down, "text_proj.lora_up.weight": up}, tmp_path / "lora.safetensors")
    merge_lora(student.network, tmp_path / "lora.safetensors", 0.0)
    assert torch.equal(student.network.text_proj.weight, weight)
    merge_lora(student.network, tmp_path / "lora.safetensors")
    torch.testing.assert_close(student.network.text_proj.weight, weight + up @ down)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"nothing.lora_down.weight": (2, 4), "nothing.lora_up.weight": (4, 2)}, "this student has no such layer"),
        ({"text_proj.lora_down.weight": (2, 5), "text_proj.lora_up.weight": (32, 2)}, "has a weight of"),
        ({"text_proj.lora_down.weight": (2, 24)}, "text_proj has no pair of lora_down and lora_up"),
        ({"text_proj.lora_down.weight": (2, 24), "text_proj.lora_up.weight": (32, 3)}, "text_proj has no pair"),
        ({"text_proj.weight": (32, 24)}, "text_proj.weight has no pair"),
        ({"text_proj.alpha": ()}, "text_proj has no pair"),
    ],
)
def test_what_does_not_belong_is_refused_and_nothing_is_changed(
    tensors: dict[str, tuple[int, ...]], said: str, student: Student, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in student.network.state_dict().items()}
    good = {"blocks.0.mlp.0.lora_down.weight": 0, "blocks.0.mlp.0.lora_up.weight": 1}
    pair = factors(before["blocks.0.mlp.0.weight"])
    content = {name: torch.ones(shape) for name, shape in tensors.items()}
    save_file(content | {name: pair[i] for name, i in good.items()}, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=said):
        merge_lora(student.network, tmp_path / "lora.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in student.network.state_dict().items())


@pytest.mark.parametrize("which", ["down", "up", "alpha"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused_and_nothing_is_changed(
    which: str, value: float, student: Student, tmp_path: Path
) -> None:
    before = student.network.text_proj.weight.clone()
    down, up = factors(before)
    parts = {"down": down, "up": up, "alpha": torch.tensor(ALPHA)}
    parts[which].reshape(-1)[0] = value
    names = {"down": "lora_down.weight", "up": "lora_up.weight", "alpha": "alpha"}
    save_file({f"text_proj.{names[part]}": tensor for part, tensor in parts.items()}, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match="text_proj has NaN or infinite values"):
        merge_lora(student.network, tmp_path / "lora.safetensors")
    assert torch.equal(student.network.text_proj.weight, before)


@pytest.mark.parametrize(("rank", "alphas", "said"), [(0, 1, "has no pair"), (2, 3, "has an alpha of 3 numbers")])
def test_a_rank_or_an_alpha_that_gives_no_scale_is_refused(
    rank: int, alphas: int, said: str, student: Student, tmp_path: Path
) -> None:
    rows, columns = student.network.text_proj.weight.shape
    tensors = {"lora_down.weight": torch.ones(rank, columns), "lora_up.weight": torch.ones(rows, rank)}
    tensors["alpha"] = torch.ones(alphas)
    save_file({f"text_proj.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=said):
        merge_lora(student.network, tmp_path / "lora.safetensors")


@pytest.mark.parametrize("extra", [(0,), (3,)])
def test_a_factor_of_more_dimensions_that_do_not_multiply_is_refused(
    student: Student, tmp_path: Path, extra: tuple[int, ...]
) -> None:
    weight = student.network.get_parameter("blocks.0.mlp.0.weight")
    down, up = torch.zeros(2, weight.shape[1]), torch.zeros(weight.shape[0], 2, *extra)
    save_file(
        {"blocks.0.mlp.0.lora_down.weight": down, "blocks.0.mlp.0.lora_up.weight": up}, tmp_path / "l.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"blocks.0.mlp.0 has no pair"):
        merge_lora(student.network, tmp_path / "l.safetensors")
