"""The harness itself: mutants are repeatable, and what it looks for is found."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fuzz import child, targets
from fuzz.json_mutations import MOST_PLACES_TO_NEST, mutate_value, places
from fuzz.listening import MOST_SECONDS
from fuzz.pickle_mutations import MARKER, make_gadget
from fuzz.run import MOST_BYTES, SHARES, Report
from fuzz.targets import TARGETS, Target
from wan_lite.models import CheckpointError


def test_every_kind_of_file_has_its_share() -> None:
    assert set(SHARES) == set(TARGETS)


@pytest.mark.parametrize("name", ["embeds", "contract", "workflow", "clip"])
def test_a_mutant_is_made_again_from_its_number(name: str) -> None:
    first, second = (TARGETS[name].mutate(random.Random(f"1 {name} 5")) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("seed", [130, 161, 417, 889])
def test_documents_do_not_grow_without_end(seed: int) -> None:
    document = {"settings": [{f"{number}": number for number in range(20)} for _ in range(2)], "more": {"a": "b"}}
    sizes = [len(places(mutate_value(document, random.Random(number)))) for number in (seed, *range(300))]
    assert max(sizes) < 2 * 320 * MOST_PLACES_TO_NEST


@pytest.mark.parametrize("name", TARGETS)
def test_files_that_are_not_changed_are_loaded(name: str, tmp_path: Path) -> None:
    for number, files in enumerate(TARGETS[name].seeds()):
        if files.get("w.pth") == make_gadget(random.Random(0)):
            continue
        folder = tmp_path / str(number)
        child.write_files(folder, files)
        ends = [end(replace(TARGETS[name], loads=(load,)), folder) for load in TARGETS[name].loads]
        assert None in ends, (files.keys(), ends)


def end(target: Target, folder: Path) -> str | None:
    try:
        target.load(folder, random.Random(0))
    except ValueError as error:
        return str(error)
    return None


def fail(error: Exception) -> object:
    raise error


def as_target(load: object) -> Target:
    return Target(lambda: [{"w.json": b"{}"}], (load,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        (lambda _: None, "loaded"),
        (lambda _: fail(ValueError("raised outside of the package")), "foreign"),
        (lambda _: [][0], "foreign"),
        (lambda _: targets.load_student(Path("nowhere")), "refused"),
        (lambda _: torch.zeros(2) @ torch.zeros(3), "foreign"),
    ],
)
def test_how_a_load_ended_is_told_apart(load: object, kind: str, tmp_path: Path) -> None:
    answer = child.try_mutant(as_target(load), tmp_path / "work", random.Random(0))
    assert answer["kind"] == kind, answer["message"]


def test_memory_is_measured(tmp_path: Path) -> None:
    answer = child.try_mutant(as_target(lambda _: torch.ones(2**24).sum()), tmp_path / "work", random.Random(0))
    assert 0.9 * 2**26 < answer["bytes"] < 1.5 * 2**26


def test_messages_that_are_not_a_line_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "is_raised_by_us", lambda _: True)
    for text in ("two\nlines", "\x1b[2J", "", "x" * 401):
        assert child.classify(ValueError(text)) == "not a line"
    assert child.classify(CheckpointError("a sentence.")) == "refused"


def test_limits_are_findings() -> None:
    report = Report("vae")
    good = {"end": 1, "kind": "loaded", "message": "", "bytes": MOST_BYTES, "seconds": MOST_SECONDS}
    report.add(0, good)
    assert not report.findings
    for change in ({"bytes": MOST_BYTES + 1}, {"seconds": MOST_SECONDS + 1}, {"kind": "foreign"}):
        report.add(0, good | change)
    assert len(report.findings) == 3


def test_a_program_leaves_its_mark_where_it_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(b"cbuiltins\nopen\n(X\x08\x00\x00\x00EXECUTEDX\x01\x00\x00\x00wtR.").close()
    assert (tmp_path / MARKER).exists()
    assert any(MARKER.encode() in make_gadget(random.Random(number)) for number in range(20))
