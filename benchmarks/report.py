"""The one table as Markdown, of one run or of several: the newest in full, the others as the range of its ratios."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .peers import COMFYUI, DIFFUSERS, OFFICIAL, TINYWORLDS, WANDISTILLER
from .records import OURS, Entry, Figure, Outcome, Row, Run, Spread
from .registry import CASES

__all__ = ["write_earlier", "write_machine", "write_settings", "write_short_table", "write_table"]

HEADINGS = ("", "", "n", "time", "x ours", "processor", "x ours", "distance", "peak")
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
    """Return the table of every case that was measured, from the newest run that has it, with the ranges over all.

    A case of another run than the first names its machine.
    """
    lines = [_write_line(HEADINGS), _write_line(["---"] * len(HEADINGS))]
    section = ""
    for name, case in CASES.items():
        run = find_newest(runs, name)
        if run is None:
            continue
        outcome = run.cases[name]
        if case.section != section:
            section = case.section
            lines.append(_write_line([f"**{section}**", *[""] * (len(HEADINGS) - 1)]))
        if run is not runs[0]:
            lines.append(_write_line([f"on {run.machine.get('processor')}:", *[""] * (len(HEADINGS) - 1)]))
        lines += [line for row in outcome.rows for line in _write_row(name, row, runs)]
        lines += [_write_figure(figure) for figure in outcome.figures]
    return "\n".join(lines)


def write_short_table(runs: Sequence[Run]) -> str:
    """Return README's table: how many times as fast, by peer, over all measured runs, and the rounds in all of them."""
    lines = ["| | beside | times as fast | runs | rounds |", "|---|---|---|---|---|"]
    for case, who, words in SHORT:
        found = list(find_ratios(runs, case, who))
        if found:
            rounds = count_rounds(runs, case, who)
            lines.append(f"| {words} | {who} | {write_range(found)} | {len(found)} | {rounds or 'not noted'} |")
    return "\n".join(lines)


def write_earlier(runs: Sequence[Run]) -> str:
    """Return the ratios that were noted down elsewhere and not measured by this program, as a list for each run."""
    lines = []
    for run in (run for run in runs if not run.is_timed):
        lines += [
            f"{run.machine.get('processor')}, {run.machine['kept']}:",
            "",
            "| | beside | x ours |",
            "|---|---|---|",
        ]
        for outcome in run.cases.values():
            pairs = dict.fromkeys((row.what, entry.who) for row in outcome.rows for entry in row.entries[1:])
            for what, who in pairs:
                found = (
                    entry.ratio for row in outcome.rows if row.what == what for entry in row.entries if entry.who == who
                )
                lines.append(f"| {what} | {who} | {', '.join(f'{ratio.median:.3g}' for ratio in found if ratio)} |")
        lines.append("")
    return "\n".join(lines).strip()


def find_newest(runs: Iterable[Run], case: str) -> Run | None:
    """Return the first measured run that has something of a case."""
    for run in runs:
        outcome = run.cases.get(case, Outcome())
        if run.is_timed and (outcome.rows or outcome.figures):
            return run
    return None


def count_rounds(runs: Iterable[Run], case: str, who: str) -> int:
    """Return the timed rounds of an implementation's case in all measured runs; 0 where they were not counted."""
    rows = (row for run in runs if run.is_timed for row in run.cases.get(case, Outcome()).rows)
    return sum(row.count or 0 for row in rows if any(entry.who == who for entry in row.entries))


def write_machine(run: Run) -> str:
    """Return what a run was measured on, and beside which versions, as a list."""
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
    """Return, case by case, the day, the threads, the rounds and the load of the machine."""
    keys = ("date", "threads", "rounds", "budget", "load", "seconds")
    lines = ["| case | day | threads | rounds, at most | seconds for them | load | seconds |", "|---" * 7 + "|"]
    for name in CASES:
        if name in run.cases:
            found = run.cases[name].settings
            values = (found.get(key, "") for key in keys)
            lines.append(_write_line([name, *(str(value) for value in values)]))
    return "\n".join(lines)


def find_ratios(runs: Iterable[Run], case: str, who: str, what: str = "") -> Iterator[float]:
    """Yield how many times our time an implementation takes in each measured run that has it.

    Args:
        runs: Where to look.
        case: Its case.
        who: The implementation.
        what: The row; every one that has it, where it is empty.
    """
    for run in (run for run in runs if run.is_timed):
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
        what, count = (row.what, str(row.count or "")) if not number else ("", "")
        who, *cells = _write_entry(entry, row, all_runs)
        lines.append(_write_line([what, who, count, *cells]))
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
        [figure.what, OURS if figure.has_limits else "", "", f"{value} {figure.unit}".strip(), said, "", "", "", ""]
    )


def _write_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
