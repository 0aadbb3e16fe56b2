"""Where the browser tests look for a Chromium."""

from __future__ import annotations

import os
import shutil

HOW_TO_GET_CHROMIUM = (
    "BROWSER TESTS SKIPPED FOR WANT OF A CHROMIUM: `apt-get install chromium` (or install Google Chrome), "
    "or set CHROMIUM to its executable."
)


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome (``CHROMIUM``, else on PATH), or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)
