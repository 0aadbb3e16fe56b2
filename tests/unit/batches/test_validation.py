"""Images while a student is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from wan_lite.batches import TensorBoardLogger, Validation, validate
from wan_lite.models import load_student, load_wan_vae

VECTORS = Path(__file__).resolve().parents[2] / "vectors"


def load() -> tuple[Any, Any, dict[str, torch.Tensor]]:
    student = load_student(VECTORS / "student_16ch", preset="ddim-10 training preview")
    vae = load_wan_vae(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")
    text = load_file(VECTORS / "student_16ch" / "golden.safetensors")["text"]
    return student, vae, {"a red / ball": text, "a dog": text[:3]}


def test_files_are_named_by_model_step_sample_and_prompt(tmp_path: Path) -> None:
    student, vae, prompts = load()
    files = validate(student, vae, prompts, 500, tmp_path, name="mine")
    assert [file.name for file in files] == [
        "mine_step_500_sample_0_a red ball.png",
        "mine_step_500_sample_1_a dog.png",
    ]
    with Image.open(files[1]) as image:
        assert image.info["wan_lite.seed"] == "1"


def test_the_callback_runs_when_it_is_due_and_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    student, vae, prompts = load()
    logged: list[tuple[str, int, tuple[int, ...]]] = []

    class Writer:
        def add_image(self, name: str, image: torch.Tensor, step: int, dataformats: str) -> None:
            assert (image.dtype, dataformats) == (torch.uint8, "HWC")
            logged.append((name, step, tuple(image.shape)))

    callback = Validation(student, vae, prompts, tmp_path, every=2, loggers=[TensorBoardLogger(Writer())])
    student.network.train()
    state = torch.random.get_rng_state()
    assert [len(callback(step)) for step in range(4)] == [2, 0, 2, 0]
    assert student.network.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert [entry[:2] for entry in logged[2:]] == [("validation/0: a red / ball", 2), ("validation/1: a dog", 2)]
    first, second = sorted(tmp_path.glob("*_sample_1_*.png"))
    assert Image.open(first).tobytes() == Image.open(second).tobytes()
