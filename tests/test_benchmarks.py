"""The one table: every case runs, and the pages are what the kept runs give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from wan_lite.benchmarks.__main__ import main
from wan_lite.benchmarks.bench import Bench, Case
from wan_lite.benchmarks.page import RESULTS, fill_readme, write_page
from wan_lite.benchmarks.records import Outcome, read_runs
from wan_lite.benchmarks.registry import CASES

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_every_case_runs_at_tiny_sizes(tmp_path: Path) -> None:
    assert main(["--quick", "--out", str(tmp_path), "--threads", "1"]) == 0
    content = json.loads((tmp_path / "this-machine.json").read_text("utf-8"))
    assert list(content["cases"]) == list(CASES)
    assert content["machine"]["peers"]["ComfyUI"].startswith("absent")
    table = (tmp_path / "this-machine.md").read_text("utf-8")
    for section in {case.section for case in CASES.values()}:
        assert f"**{section}**" in table
    assert Image.open(tmp_path / "pictures" / "benchmarks.png").size[0] > 100


def test_cases_measured_later_join_those_that_are_there(tmp_path: Path) -> None:
    for case in ("solver-ddim", "solver-image"):
        assert main([case, "--quick", "--out", str(tmp_path), "--threads", "1"]) == 0
    content = json.loads((tmp_path / "this-machine.json").read_text("utf-8"))
    assert set(content["cases"]) == {"solver-ddim", "solver-image"}
    (row,) = content["cases"]["solver-image"]["rows"]
    assert row["entries"][0]["who"] == "Wan Lite"
    assert "distance" in row["entries"][-1]


def test_a_case_that_fails_is_named_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Bench) -> Outcome:
        raise ValueError("3 of 9 tokens differ")

    monkeypatch.setitem(CASES, "solver-image", Case("solver-image", "Solver", fail))
    assert main(["solver-image", "solver-ddim", "--quick", "--out", str(tmp_path), "--threads", "1"]) == 1
    assert "solver-image failed: ValueError: 3 of 9 tokens differ" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "this-machine.json").read_text("utf-8"))["cases"]) == {"solver-ddim"}


def test_the_pages_are_generated_from_the_kept_runs() -> None:
    runs = read_runs(RESULTS)
    readme = (ROOT / "README.md").read_text("utf-8")
    said = "run python -m wan_lite.benchmarks.page"
    assert (ROOT / "docs" / "benchmarks.md").read_text("utf-8") == write_page(runs), said
    assert readme == fill_readme(readme, runs), said
