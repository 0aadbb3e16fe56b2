"""What a run measured: written, read again, merged case by case, with limits that are kept or missed."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_lite.benchmarks.peers import COMFYUI, Peers
from wan_lite.benchmarks.records import OURS, Entry, Figure, Outcome, Row, Run, Spread, read_runs
from wan_lite.benchmarks.registry import CASES, choose_cases
from wan_lite.benchmarks.report import find_ratios, write_earlier, write_seconds, write_short_table, write_table


def make_run(name: str, ratio: float, date: str = "2026-01-01") -> Run:
    theirs = Entry(
        COMFYUI, 2 * ratio, 4.0, Spread(ratio, ratio - 0.5, ratio + 0.5), Spread.of([ratio - 0.1]), 0.25, 12.0
    )
    row = Row("decode 512x512", (Entry(OURS, 2.0, 4.0), theirs), COMFYUI, 3)
    figures = (Figure("slope", 1.01, "", 0.95, 1.05), Figure("peak", 2.0, "MiB", most=1.5))
    points = {"decode": [(9.0, 1.0), (10.0, 4.0)]}
    return Run(name, {"date": date, "peers": {"a": "1"}}, {"image-decode-512": Outcome((row,), figures, {}, points)})


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = make_run("one", 3.0)
    run.write(tmp_path / "one.json")
    assert Run.read(tmp_path / "one.json") == run


def test_the_newest_run_comes_first(tmp_path: Path) -> None:
    make_run("a", 3.0, "2026-02-01").write(tmp_path / "a.json")
    make_run("b", 2.0, "2026-03-01").write(tmp_path / "b.json")
    assert [run.name for run in read_runs(tmp_path)] == ["b", "a"]


def test_a_later_run_replaces_its_own_cases_only() -> None:
    before, later = make_run("one", 3.0), make_run("one", 2.0)
    merged = Run("one", {}, {**before.cases, "other": Outcome()}).merge(later)
    assert merged.cases["image-decode-512"] == later.cases["image-decode-512"]
    assert merged.cases["other"] == Outcome()


def test_a_peer_absent_now_keeps_the_version_that_is_known() -> None:
    before = Run("one", {"peers": {"a": "1", "b": "absent: x", "c": "1"}}, {})
    merged = before.merge(Run("one", {"peers": {"a": "absent: y", "b": "2", "c": "3", "d": "absent: y"}}, {}))
    assert merged.machine["peers"] == {"a": "1", "b": "2", "c": "3", "d": "absent: y"}


def test_every_case_that_was_measured_is_in_the_table_with_its_machine() -> None:
    old = make_run("old", 3.0)
    runs = [Run("new", {}, {"image-encode-512": Outcome((Row("encode", (Entry(OURS, 1.0),)),))})]
    runs.append(Run("old", {"processor": "other"}, old.cases))
    lines = write_table(runs).splitlines()
    (here,) = [number for number, line in enumerate(lines) if line.startswith("| on other: |")]
    assert lines[here + 1].startswith(f"| decode 512x512 | {OURS} | 3 | 2 s |")
    assert any(line.startswith("| encode |") for line in lines)


def test_ratios_that_were_noted_down_are_named_and_in_no_range() -> None:
    noted = Run("noted", {"kept": "by the clock"}, make_run("x", 9.0).cases)
    runs = [make_run("one", 3.0), noted]
    assert list(find_ratios(runs, "image-decode-512", COMFYUI)) == [2.9]
    assert f"| decode 512x512 | {COMFYUI} | 9 |" in write_earlier(runs).splitlines()
    assert write_earlier(runs[:1]) == ""


def test_what_takes_at_most_so_much_is_judged_by_the_larger_ratio() -> None:
    entry = Entry("eight", ratio=Spread.of([4.0]), cpu_ratio=Spread.of([5.5]))
    assert (entry.times_slower, entry.most_times_slower) == (4.0, 5.5)


@pytest.mark.parametrize(("value", "is_met"), [(0.94, False), (0.95, True), (1.05, True), (1.06, False)])
def test_a_figure_is_met_between_its_limits(value: float, is_met: bool) -> None:
    assert Figure("slope", value, "", 0.95, 1.05).is_met is is_met


def test_the_table_names_time_ratio_range_distance_peak_and_limits() -> None:
    runs = [make_run("one", 3.0), make_run("two", 2.4)]
    (theirs,) = [line for line in write_table(runs).splitlines() if COMFYUI in line]
    cells = [cell.strip() for cell in theirs.strip("|").split("|")]
    assert cells[1:5] == [COMFYUI, "", "6 s", "**3.00** (2.50 to 3.50); 2 runs: 2.3 to 2.9"]
    assert cells[7:] == ["reference", "12 MB"]
    assert [line.split("|")[5].strip() for line in write_table(runs).splitlines() if OURS in line][1:] == [
        "least 0.95, most 1.05: met",
        "most 1.5: **missed**",
    ]


def test_the_short_table_gives_the_range_of_all_runs() -> None:
    (line,) = write_short_table([make_run("one", 3.0), make_run("two", 2.4)]).splitlines()[2:]
    assert [cell.strip() for cell in line.strip("|").split("|")][1:] == [COMFYUI, "2.3 to 2.9", "2", "6"]
    assert list(find_ratios([make_run("one", 3.0)], "image-decode-512", COMFYUI)) == [2.9]


@pytest.mark.parametrize(("seconds", "text"), [(12.34, "12.3 s"), (0.0125, "12.5 ms"), (3.1e-5, "31 us"), (None, "")])
def test_seconds_have_three_digits_and_a_unit(seconds: float | None, text: str) -> None:
    assert write_seconds(seconds) == text


def test_cases_are_chosen_by_the_beginning_of_their_names() -> None:
    assert [case.name for case in choose_cases(["image-decode-512"])] == ["image-decode-512"]
    assert {case.name for case in choose_cases(["world", "solver-i"])} >= {"world-2-1", "world-8-8", "solver-image"}
    assert len(choose_cases([])) == len(CASES)
    with pytest.raises(ValueError, match="wolrd"):
        choose_cases(["wolrd"])


def test_absent_peers_are_named_and_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    assert "--official" in Peers().describe()["Wan-Video/Wan2.2"]
    with pytest.raises(ValueError, match=r"dynamics\.py"):
        Peers(tinyworlds=tmp_path)
