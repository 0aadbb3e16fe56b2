"""ComfyUI's own templates: the engine's graph against what the page made of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from host.comfyui import ComfyUI
from host.server import VECTORS
from host.templates import digest, file_digest, find_templates, links_of, values_of
from wan_lite.check import check_workflow
from wan_lite.check.graph.graph import Graph, Link
from wan_lite.check.graph.read import read_graph
from wan_lite.check.knowledge import Knowledge

RECORDING: dict[str, Any] = json.loads((VECTORS / "check" / "templates.json").read_text("utf-8"))


def prompt_of(graph: Graph, unknown: list[str]) -> dict[str, Any]:
    return {
        node.id: {
            "class_type": None if node.id in unknown else node.type,
            "inputs": {name: list(v) if isinstance(v, Link) else v for name, v in node.inputs.items()},
        }
        for node in graph
    }


@pytest.fixture(scope="module")
def templates(comfyui: ComfyUI) -> list[Path]:
    """The installed templates that are the recorded ones, byte by byte."""
    rows = RECORDING["templates"]
    found = [path for path in find_templates(comfyui) if rows.get(path.stem, {}).get("file") == file_digest(path)]
    if len(found) < len(rows) / 2:
        pytest.skip(f"only {len(found)} of the {len(rows)} recorded templates are installed")
    return found


def test_resolved_graphs_equal_the_page(templates: list[Path]) -> None:
    wrong = []
    for path in templates:
        row = RECORDING["templates"][path.stem]
        prompt = prompt_of(read_graph(json.loads(path.read_text("utf-8"))), row.get("unknown", []))
        links = links_of(prompt)
        if (digest(links), digest(values_of(prompt))) != (row["graph"], row["values"]):
            wrong.append(path.stem)
        if path.stem in RECORDING["in_full"]:
            assert links == RECORDING["in_full"][path.stem], path.stem
    assert not wrong


def test_findings_are_the_recorded_ones(templates: list[Path]) -> None:
    """Each that is wrong was compared by hand with the template once."""
    recorded = json.loads((VECTORS / "check" / "findings.json").read_text("utf-8"))
    knowledge = Knowledge()
    for path in templates:
        report = check_workflow(path, knowledge)
        assert not report.error, path.stem
        found = sorted([f.severity, f.id, f.node] for f in report.findings if f.severity != "note")
        assert found == recorded.get(path.stem, []), path.stem


def test_nothing_is_said_of_other_families(templates: list[Path]) -> None:
    recorded = json.loads((VECTORS / "check" / "findings.json").read_text("utf-8"))
    for path in templates:
        if path.stem in recorded:
            text = path.read_text("utf-8").lower()
            assert any(word in text for word in ("wan2", "wan_2", "wan21", "qwen_image", "qwen-image")), path.stem
