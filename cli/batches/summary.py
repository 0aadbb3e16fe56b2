"""What a run over rows came to, in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..terminal import say

if TYPE_CHECKING:
    from ...batches.manifest import RunSummary

__all__ = ["say_summary"]

FAILED = 1


def say_summary(summary: RunSummary, folder: Path) -> int:
    """Print it; return the exit code: 1 where a row failed."""
    for error in summary.errors:
        say(error, sys.stderr)
    before = f", {summary.skipped} were there already" if summary.skipped else ""
    failed = f", {summary.failed} failed" if summary.failed else ""
    say(f"{folder}: {summary.done} rows done{failed}{before}; {folder / 'manifest.jsonl'} says how each went")
    return FAILED if summary.failed else 0
