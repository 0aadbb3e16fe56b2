"""``make demo``: what it writes and says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from wan_lite.demo.run import one_thread


def test_the_demo_writes_its_images(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wan_lite.demo", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {"pictures.png", "rollout.gif", "diagnose_chart.png", "diagnose_frames.png", "diagnose.txt"}
    names |= {f"probe_{name}{end}" for name in ("ddim", "flow", "4ch") for end in ("_grid.png", "_chart.png", ".txt")}
    assert {path.name for path in tmp_path.iterdir()} == names
    with Image.open(tmp_path / "rollout.gif") as film:
        assert film.n_frames == 22
    assert done.stdout.count("looks like velocity") == 2
    assert done.stdout.count("looks like epsilon") == 1


def test_one_thread_is_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
