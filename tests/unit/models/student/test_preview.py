"""The colours of a preview: fitted, kept in a student's file, and refused where they are not that."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import repeat

from wan_lite.models import CheckpointError, load_student, save_student
from wan_lite.models.metadata import read_metadata, rewrite_metadata
from wan_lite.models.student import PreviewColours, fit_preview_colours
from wan_lite.models.student.preview import PREVIEW_KEY
from wan_lite.samplers.contract import PRESETS

STUDENT = Path(__file__).parents[3] / "vectors" / "student_4ch"
COLOURS = PreviewColours(tuple((0.5, -0.25, i / 16) for i in range(16)), (0.0, 0.5, -1.0))


def paint(latents: torch.Tensor, colours: PreviewColours) -> torch.Tensor:
    """Cells of 8x8 pixels in the colours that the map gives them."""
    colour = (
        torch.einsum("bchw,cd->bdhw", latents, torch.tensor(colours.factors))
        + torch.tensor(colours.bias)[:, None, None]
    )
    return repeat(colour, "b d h w -> b d (h p) (w q)", p=8, q=8)


def test_the_fit_finds_a_map_that_is_affine() -> None:
    latents = torch.randn(4, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    found = fit_preview_colours(latents, paint(latents, COLOURS))
    assert torch.allclose(torch.tensor(found.factors), torch.tensor(COLOURS.factors), atol=1e-3)
    assert torch.allclose(torch.tensor(found.bias), torch.tensor(COLOURS.bias), atol=1e-3)


def test_of_latents_with_few_degrees_of_freedom_the_smallest_map_is_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = torch.einsum(
        "bchw,dc->bdhw", torch.randn(4, 4, 4, 4, generator=generator), torch.randn(16, 4, generator=generator)
    )
    pixels = paint(wide, COLOURS)
    found = fit_preview_colours(wide, pixels)
    assert torch.allclose(paint(wide, found), pixels, atol=1e-2)
    assert max(abs(value) for row in found.factors for value in row) < 2


def test_they_stay_with_a_student(tmp_path: Path) -> None:
    student = load_student(STUDENT, preset=PRESETS["flow_unipc-20 shift 5"])
    assert student.preview is None
    save_student(student, tmp_path / "without.safetensors")
    assert PREVIEW_KEY not in read_metadata(tmp_path / "without.safetensors")
    student.preview = COLOURS
    save_student(student, tmp_path / "with.safetensors")
    assert load_student(tmp_path / "with.safetensors").preview == COLOURS


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[" * 100_000,
        "[]",
        {"factors": [[0.0, 0.0, 0.0]] * 16},
        {"factors": 3, "bias": [0.0, 0.0, 0.0]},
        {"factors": [[0.0, 0.0, 0.0]] * 4, "bias": [0.0, 0.0, 0.0]},
        {"factors": [[0.0, 0.0]] * 16, "bias": [0.0, 0.0, 0.0]},
        {"factors": [[0.0, 0.0, math.nan]] * 16, "bias": [0.0, 0.0, 0.0]},
        {"factors": [[0.0, 0.0, "red"]] * 16, "bias": [0.0, 0.0, 0.0]},
    ],
)
def test_another_record_is_refused(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "student.safetensors"
    save_student(load_student(STUDENT, preset=PRESETS["flow_unipc-20 shift 5"]), file)
    rewrite_metadata(file, {PREVIEW_KEY: content if isinstance(content, str) else json.dumps(content)})
    with pytest.raises(CheckpointError, match=f"student.safetensors, header key {PREVIEW_KEY}: "):
        load_student(file)
