"""The one table as Markdown, of one run or of several: the newest in full, the others as the range of its ratios."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .peers import COMFYUI, DIFFUSERS, OFFICIAL, TINYWORLDS, WANDISTILLER
from .records import OURS, Entry, Figure, Outcome, Row, Run, Spread
from .registry import CASES

__all__ = ["write_machine", "write_settings", "write_short_table", "write_table"]

HEADINGS = ("", "", "time", "x ours", "processor", "x ours", "distance", "peak")
SHORT = (
    ("image-decode-512", COMFYUI, "a 512x512 image decoded"),
    ("image-encode-512", COMFYUI, "a 512x512 image encoded"),
    ("image-decode-512", OFFICIAL, "a 512x512 image decoded"),
    ("image-decode-512", DIFFUSERS, "a 512x512 image decoded"),
    ("video-decode", COMFYUI, "17 frames decoded"),
    ("student-fp32", WANDISTILLER, "a student's forward at the default size"),
    ("student-image-256", WANDISTILLER, "a student's whole 256x256 image, 20 steps"),
    ("student-image-512-4", WANDISTILLER, "a student's whole 512x512 image, 4 steps"),
    ("solver-image", DIFFUSERS, "a solver's step"),
    ("solver-image", OFFICIAL, "a solver's step"),
    ("world-2-1", TINYWORLDS, "a world's frame, context 2"),
    ("world-8-1", TINYWORLDS, "a world's frame, context 8"),
)
"""Case, peer and words of the lines of README's table."""


def write_table(runs: Sequence[Run]) -> str:
    """Return the table of the first run, with the ranges over all of them."""
    lines = [_write_line(HEADINGS), _write_line(["---"] * len(HEADINGS))]
    section = ""
    for name, case in CASES.items():
        outcome = runs[0].cases.get(name)
        if outcome is None or not (outcome.rows or outcome.figures):
            continue
        if case.section != section:
            section = case.section
            lines.append(_write_line([f"**{section}**", *[""] * (len(HEADINGS) - 1)]))
        lines += [line for row in outcome.rows for line in _write_row(name, row, runs)]
        lines += [_write_figure(figure) for figure in outcome.figures]
    return "\n".join(lines)


def write_short_table(runs: Sequence[Run]) -> str:
    """Return README's table: how many times as fast, by peer, over all runs."""
    lines = ["| | beside | times as fast | runs |", "|---|---|---|---|"]
    for case, who, words in SHORT:
        found = list(find_ratios(runs, case, who))
        if found:
            lines.append(f"| {words} | {who} | {write_range(found)} | {len(found)} |")
    return "\n".join(lines)


def write_machine(run: Run) -> str:
    """Return what the first run was measured on, and beside which versions, as a list."""
    machine = run.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    peers = "; ".join(f"{name}: {said}" for name, said in machine.get("peers", {}).items())
    flags = ", ".join(machine.get("flags", [])) or "none of those that matter"
    return "\n".join(
        [
            f"- {machine.get('date')}: {machine.get('processor')}, {machine.get('cores')} cores ({flags}), "
            f"{machine.get('memory_gib')} GiB, {machine.get('system')}",
            f"- {versions}",
            f"- {peers}",
        ]
    )


def write_settings(run: Run) -> str:
    """Return, case by case, the threads, rounds and load of the machine."""
    lines = ["| case | threads | rounds, at most | load before | seconds |", "|---|---|---|---|---|"]
    for name in CASES:
        if name in run.cases:
            found = run.cases[name].settings
            values = (found.get(key, "") for key in ("threads", "rounds", "load", "seconds"))
            lines.append(_write_line([name, *(str(value) for value in values)]))
    return "\n".join(lines)


def find_ratios(runs: Iterable[Run], case: str, who: str, what: str = "") -> Iterator[float]:
    """Yield how many times our time an implementation takes in each run that has it.

    Args:
        runs: Where to look.
        case: Its case.
        who: The implementation.
        what: The row; every one that has it, where it is empty.
    """
    for run in runs:
        outcome = run.cases.get(case, Outcome())
        for row in outcome.rows:
            ratio = next((entry.times_slower for entry in row.entries if entry.who == who), None)
            if ratio is not None and what in ("", row.what):
                yield ratio


def write_range(values: Sequence[float]) -> str:
    """Return a number, or the lowest and highest of several."""
    low, high = (f"{value:.3g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def write_seconds(seconds: float | None) -> str:
    """Return a time with its unit, in three digits."""
    if seconds is None:
        return ""
    factor, unit = next(((f, u) for f, u in ((1, "s"), (1e3, "ms"), (1e6, "us")) if seconds * f >= 1), (1e9, "ns"))
    return f"{seconds * factor:.3g} {unit}"


def _write_row(case: str, row: Row, runs: Sequence[Run]) -> list[str]:
    lines = []
    for number, entry in enumerate(row.entries):
        all_runs = list(find_ratios(runs, case, entry.who, row.what))
        lines.append(_write_line([row.what if not number else "", *_write_entry(entry, row, all_runs)]))
    return lines


def _write_entry(entry: Entry, row: Row, all_runs: Sequence[float]) -> list[str]:
    distance = "" if entry.distance is None else f"{entry.distance:.1e}"
    if row.reference == entry.who:
        distance = "reference"
    ratio = _write_spread(entry.ratio)
    if len(all_runs) > 1:
        ratio += f"; {len(all_runs)} runs: {write_range(all_runs)}"
    peak = "" if entry.peak is None else f"{entry.peak:.0f} MB"
    times = write_seconds(entry.wall), ratio, write_seconds(entry.cpu), _write_spread(entry.cpu_ratio)
    return [entry.who, *times, distance, peak]


def _write_spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    around = "" if spread.low == spread.high else f" ({spread.low:.2f} to {spread.high:.2f})"
    return f"**{spread.median:.2f}**{around}"


def _write_figure(figure: Figure) -> str:
    limits = [
        f"{word} {limit:.3g}" for word, limit in (("least", figure.least), ("most", figure.most)) if limit is not None
    ]
    said = f"{', '.join(limits)}: {'met' if figure.is_met else '**missed**'}" if limits else ""
    value = f"{figure.value:.3g}" if abs(figure.value) < 1e4 else f"{figure.value:.0f}"
    return _write_line(
        [figure.what, OURS if figure.has_limits else "", f"{value} {figure.unit}".strip(), said, "", "", "", ""]
    )


def _write_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
