"""Where the tests look for a real ComfyUI, and what they say when there is none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

HOW_TO_GET_ONE = (
    "To run them: `pip install comfy-cli && comfy --workspace ~/comfy/ComfyUI install --cpu` (or --nvidia), "
    "or set COMFYUI_PATH to an existing ComfyUI (and COMFYUI_PYTHON to its interpreter)."
)

NEWER_NODES = frozenset({"EmptyARVideoLatent"})
"""Nodes of core in shipped workflows that the oldest supported ComfyUI does not have yet."""


TESTED = (0, 33, 0)
"""The ComfyUI that README names as tested; what a test needs is there, or the test fails."""


def skip_on_older(comfyui: ComfyUI, lack: str) -> None:
    """Skip a test for what an older ComfyUI does not have; fail it on the tested one and on later ones."""
    said = f"ComfyUI {comfyui.version} {lack}"
    if tuple(int(number) for number in re.findall(r"\d+", comfyui.version)[:3]) >= TESTED:
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


class ComfyUINotFound(Exception):
    """There is no usable ComfyUI; the message says where it was looked for and what was missing."""


@dataclass(frozen=True)
class ComfyUI:
    """A ComfyUI checkout with the interpreter that runs it."""

    root: Path
    python: Path
    version: str
    origin: str
    """How it was found: ``COMFYUI_PATH``, ``~/comfy/ComfyUI`` or ``~/ComfyUI``."""

    def __str__(self) -> str:
        return f"ComfyUI {self.version} at {self.root} (found through {self.origin}; interpreter {self.python})"


def find_comfyui(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> ComfyUI:
    """Return the first ComfyUI of ``COMFYUI_PATH``, ``~/comfy/ComfyUI``, ``~/ComfyUI``.

    A ``COMFYUI_PATH`` that is set but wrong is never replaced by another one: whoever set it meant it.

    Raises:
        ComfyUINotFound: none of them holds a ComfyUI, or the one found has no interpreter.
    """
    home = home or Path.home()
    places = [(home / "comfy" / "ComfyUI", "~/comfy/ComfyUI"), (home / "ComfyUI", "~/ComfyUI")]
    if environ.get("COMFYUI_PATH"):
        places = [(Path(environ["COMFYUI_PATH"]).expanduser(), "COMFYUI_PATH")]
    for root, origin in places:
        if (root / "main.py").is_file() and (root / "comfy").is_dir():
            return ComfyUI(root.resolve(), _interpreter(root, environ), _version(root), origin)
    raise ComfyUINotFound(f"no ComfyUI in {', '.join(str(root) for root, _ in places)}")


def _interpreter(root: Path, environ: Mapping[str, str]) -> Path:
    named = environ.get("COMFYUI_PYTHON")
    folders = [root / ".venv", root / "venv"]
    candidates = [folder / tail for folder in folders for tail in ("bin/python", "Scripts/python.exe")]
    for python in [Path(named).expanduser()] if named else candidates:
        if python.is_file():
            return python.absolute()
    looked = named or f"{folders[0]} and {folders[1]}"
    raise ComfyUINotFound(f"the ComfyUI in {root} has no interpreter (looked for {looked}); set COMFYUI_PYTHON")


def _version(root: Path) -> str:
    source = root / "comfyui_version.py"
    match = re.search(r'__version__ = "([^"]+)"', source.read_text("utf-8")) if source.is_file() else None
    return match[1] if match else "of unknown version"
