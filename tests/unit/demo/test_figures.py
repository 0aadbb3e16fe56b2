"""The chart of the rollouts, drawn from figures as they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from wan_lite.demo import figures

CURVE = [30.0 - i / 2 for i in range(20)]
WORLD = {"rollout_psnr_copy": CURVE, "rollout_psnr_pixels": CURVE, "rollout_psnr_tokens": CURVE}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, "FIGURES", tmp_path / "figures.json")
    monkeypatch.setattr(figures, "CHART", tmp_path / "rollout_psnr.png")
    return tmp_path


def test_the_chart_is_drawn_again_without_measuring(folder: Path) -> None:
    written = json.dumps({"vae_psnr": 29.0, "world": WORLD})
    figures.FIGURES.write_text(written)
    figures.main(["--only", "chart"])
    assert figures.FIGURES.read_text() == written
    assert figures.CHART.stat().st_size < 60_000
    with Image.open(figures.CHART) as chart:
        assert chart.width == 720


def test_every_feedback_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[tuple[float, float]]] = {}
    monkeypatch.setattr(figures, "draw_line_chart", lambda series, axes: drawn.update(series))
    figures.draw_rollout_chart({"world": WORLD})
    assert list(drawn) == ["pixels fed back", "tokens fed back", "last true frame repeated"]
    assert drawn["pixels fed back"][0] == (1, 30.0)
    assert drawn["pixels fed back"][-1] == (20, 20.5)


def test_a_chart_of_nothing_says_what_to_measure(folder: Path) -> None:
    with pytest.raises(ValueError, match="figures --only worlds"):
        figures.main(["--only", "chart"])
    assert not list(folder.iterdir())
