"""The game goes on from two of its frames as it truly did."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Generator

from wan_lite.cli import main as run_cli
from wan_lite.demo import truth
from wan_lite.demo.game import play

WORLD = Path(truth.__file__).parent / "models" / "world_models" / "wan-lite-demo" / "world.safetensors"


def test_a_game_is_read_from_two_frames() -> None:
    episodes = play(24, 60, Generator().manual_seed(5))
    for frames, actions in zip(episodes.frames, episodes.actions, strict=True):
        for start in (0, 7, 20):
            assert torch.equal(truth.play_truth(frames[start : start + 2], actions[start + 1 :]), frames[start:])


def test_a_played_session_beside_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, true, out = tmp_path / "session.json", tmp_path / "true.webp", tmp_path / "drift"
    clip = WORLD.with_name("world_clip.safetensors")
    played = [
        "--headless",
        "--actions",
        "left x4, right x5, stretch",
        "--out",
        tmp_path / "p.webp",
        "--record",
        session,
    ]
    words = ["play", "--world", WORLD, "--clip", f"{clip}:2", "--start", 3, "--maskgit-steps", 1, *played, "--quiet"]
    assert run_cli([str(word) for word in words]) == 0
    monkeypatch.setattr(sys, "argv", ["truth", str(session), str(true)])
    truth.main()
    words = ["diagnose", "--session", session, "--clip", true, "--out", out, "--quiet"]
    assert run_cli([str(word) for word in words]) == 0
    assert (out / "drift.png").is_file() and "pixels" in (out / "report.txt").read_text()
    assert json.loads(session.read_text())["source"]["start"] == 3
    assert run_cli([str(word) for word in ["diagnose", "--session", session, "--clip", clip, "--out", out]]) == 2
