"""Damaged and hostile workflow files: a report or one sentence, never a crash, never long."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fuzz.json_mutations import mutate_value
from wan_lite.check import check_workflow
from workflow_graphs import custom, lightx2v, to_page, two_experts

ROOT = Path(__file__).resolve().parents[3]
SEEDS = range(240)


def sources() -> list[Any]:
    made = [lightx2v(), to_page(lightx2v()), to_page(custom()), two_experts(), to_page(two_experts())]
    shipped = [json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "workflows").rglob("*.json"))]
    return made + shipped


@pytest.mark.parametrize("seed", SEEDS)
def test_mutated_files_are_reported_or_refused_in_one_sentence(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    text = json.dumps(mutate_value(chance.choice(sources()), chance))
    if seed % 8 == 0:  # cut off, or with a character changed
        at = chance.randrange(len(text))
        text = text[:at] if seed % 16 else text[:at] + chance.choice('{}[]",:x') + text[at + 1 :]
    path = tmp_path / "mutated.json"
    path.write_text(text, "utf-8")
    report = check_workflow(path)
    said = [report.error, *(part for f in report.findings for part in (f.message, f.title, f.remedy))]
    assert all("\n" not in sentence and len(sentence) < 2000 for sentence in said)
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 10**9},
        {"steps": 4, "denoise": 1e-300},
        {"steps": -3},
        {"steps": "4"},
        {"denoise": float("inf")},
        {"scheduler": ["simple"]},
        {"cfg": "high"},
        {"sampler_name": 7},
    ],
)
def test_absurd_numbers_cost_nothing(values: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "absurd.json"
    path.write_text(json.dumps(lightx2v(**values)), "utf-8")
    assert not check_workflow(path).error


def test_levels_do_not_grow_without_bound(tmp_path: Path) -> None:
    graph = custom()
    for number in range(20, 40):
        graph[str(number)] = {
            "class_type": "ExtendIntermediateSigmas",
            "inputs": {
                "sigmas": [str(number - 1) if number > 20 else "10", 0], "steps": 100, "start_at_sigma": -1,
                "end_at_sigma": 0, "spacing": "linear",
            },
        }  # fmt: skip
    graph["7"]["inputs"]["sigmas"] = ["39", 0]
    path = tmp_path / "growing.json"
    path.write_text(json.dumps(graph), "utf-8")
    assert "more than" in check_workflow(path).samplers[0].unknown


def test_long_chains_and_circles_are_said(tmp_path: Path) -> None:
    graph = lightx2v()
    for number in range(100, 5000):
        inputs = {"model": [str(number - 1) if number > 100 else "1", 0], "shift": 5}
        graph[str(number)] = {"class_type": "ModelSamplingSD3", "inputs": inputs}
    graph["3"]["inputs"]["model"] = ["4999", 0]
    path = tmp_path / "chain.json"
    path.write_text(json.dumps(graph), "utf-8")
    assert "chain" in check_workflow(path).error
    graph["2"]["inputs"]["model"] = ["2", 0]
    graph["7"]["inputs"]["model"] = ["2", 0]
    path.write_text(json.dumps(graph), "utf-8")
    assert "circle" in check_workflow(path).samplers[0].unknown
