"""What the tests of the command line share: a file of text embeddings, and a student's folder that may be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from wan_lite.models.text_embeds import save_text_embeds

STUDENT = Path(__file__).parents[2] / "vectors" / "student_4ch"


@pytest.fixture
def embeds(tmp_path: Path) -> str:
    text = load_file(STUDENT / "golden.safetensors")["text"]
    save_text_embeds(tmp_path / "prompts.safetensors", [text, text[:3] * 2], ["a cat: red", "a dog"])
    return str(tmp_path / "prompts.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STUDENT, tmp_path / "mine", ignore=shutil.ignore_patterns("golden*")))
