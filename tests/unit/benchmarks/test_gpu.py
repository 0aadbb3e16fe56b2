"""The measurements on a card, from end to end on a processor: with five packages and what torch needs, no others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

PACKAGES = {"torch", "safetensors", "einops", "numpy", "PIL", "wan_lite"}
NEEDED_BY_TORCH = {"sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec", "typing_extensions"}
PROGRAM = """
import sys

class Filtered:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if path is None and top not in allowed and top not in sys.stdlib_module_names:
            return None
        return self.finder.find_spec(name, path, target)

allowed = set(sys.argv.pop(1).split(","))
sys.meta_path[:] = [Filtered(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
from wan_lite.benchmarks.gpu.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    allowed = ",".join(sorted(PACKAGES | NEEDED_BY_TORCH | {"_virtualenv", "torchgen", "functorch"}))
    command = [sys.executable, "-c", PROGRAM, allowed, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_works_with_nothing_but_five_packages(tmp_path: Path) -> None:
    cases = ["image-512", "accuracy", "student", "world", "solver"]
    done = run_program(*cases, "--device", "cpu", "--quick", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    content = json.loads((tmp_path / "this-card.json").read_text("utf-8"))
    lines = {entry["what"]: entry for entry in content["entries"]}
    assert lines["accuracy of decode 32x32, fp32"]["rms"] <= 1e-5
    assert lines["accuracy of decode 32x32, bf16"]["rms"] <= 0.05
    assert lines["accuracy of the student's forward, fp8 storage, bf16"]["rms"] <= 0.2
    timed = ["decode image 32x32, bf16", "student forward, bf16", "world frame 16x16, fp32"]
    assert all(lines[what]["milliseconds"] > 0 for what in timed)
    assert set(content["absent"]) == {"ComfyUI", "diffusers"}
    assert content["table"] == (tmp_path / "this-card.md").read_text("utf-8").strip()


def test_without_a_card_one_sentence_says_so() -> None:
    if torch.cuda.is_available():
        return
    done = run_program()
    assert done.returncode == 2
    assert done.stdout.startswith("There is no CUDA device here") and done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_what_no_time_is_left_for_is_named(tmp_path: Path) -> None:
    done = run_program("solver", "image-512", "--device", "cpu", "--quick", "--seconds", "0", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("left out: no time was left") == 2
