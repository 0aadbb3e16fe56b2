"""What was measured, as JSON and as a table in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .timer import Measured

__all__ = ["Entry", "Report"]

OURS = "Wan Lite"


@dataclass(frozen=True)
class Entry:
    """One line: what was done, by whom, and what it took, how far it is from the truth, or why it is not there."""

    what: str
    who: str = OURS
    milliseconds: float | None = None
    low: float | None = None
    high: float | None = None
    peak_mib: float | None = None
    rms: float | None = None
    note: str = ""

    @classmethod
    def of(cls, what: str, who: str, measured: Measured, note: str = "") -> Entry:
        """Return the line of a measurement."""
        low, high = 1e3 * min(measured.seconds), 1e3 * max(measured.seconds)
        return cls(what, who, 1e3 * measured.median, low, high, measured.peak_mib, None, note)


@dataclass
class Report:
    """All lines of a run.

    Attributes:
        machine: Device and versions.
        absent: What could not be compared with or imported, and why.
        entries: The lines.
    """

    machine: Mapping[str, Any]
    absent: Mapping[str, str]
    entries: list[Entry] = field(default_factory=list)

    def write(self, folder: Path, name: str) -> str:
        """Write NAME.json and NAME.md into a folder, and return the table."""
        folder.mkdir(parents=True, exist_ok=True)
        table = self.write_table()
        content = {
            "machine": self.machine,
            "absent": self.absent,
            "entries": [
                {key: value for key, value in asdict(one).items() if value not in (None, "")} for one in self.entries
            ],
            "table": table,
        }
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        (folder / f"{name}.md").write_text(table + "\n", "utf-8")
        return table

    def write_table(self) -> str:
        """Return the table in Markdown."""
        head = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        lines = [f"{head}.", "", *[f"- {name}: {why}" for name, why in self.absent.items()], ""]
        lines += ["| | | ms (lowest to highest) | x ours | peak MiB | rms error | |", "|---|---|---|---|---|---|---|"]
        return "\n".join([*lines, *[self._write_line(entry) for entry in self.entries]])

    def _write_line(self, entry: Entry) -> str:
        ours = next((one for one in self.entries if one.what == entry.what and one.who == OURS), None)
        ratio = ""
        if ours is not None and ours.milliseconds and entry.milliseconds and entry.who != OURS:
            ratio = f"{entry.milliseconds / ours.milliseconds:.2f}"
        cells: Sequence[str] = (
            entry.what,
            entry.who,
            "" if entry.milliseconds is None else f"{entry.milliseconds:.3g} ({entry.low:.3g} to {entry.high:.3g})",
            ratio,
            "" if entry.peak_mib is None else f"{entry.peak_mib:.0f}",
            "" if entry.rms is None else f"{entry.rms:.1e}",
            entry.note,
        )
        return "| " + " | ".join(cells) + " |"
