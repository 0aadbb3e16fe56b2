"""``docs/known-students.md`` is what its script makes of the data file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_not_stale() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "known_students.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr or "run `python scripts/known_students.py`"
    page = (ROOT / "docs" / "known-students.md").read_text("utf-8")
    assert "normal 4, shift 5: 0.6" in page and "simple 4, shift 8: 0.1" in page
