"""The programs that the package is measured beside: where they are, which version, and how their parts are imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["COMFYUI", "DIFFUSERS", "OFFICIAL", "TINYWORLDS", "WANDISTILLER", "Peers", "import_file"]

COMFYUI, DIFFUSERS, OFFICIAL = "ComfyUI", "diffusers", "Wan-Video/Wan2.2"
WANDISTILLER, TINYWORLDS = "WanDistiller", "TinyWorlds"
OPTIONS = {
    "comfyui": (COMFYUI, "a ComfyUI checkout", "main.py"),
    "official": (OFFICIAL, "a checkout of Wan-Video/Wan2.2", "wan/modules/vae2_1.py"),
    "wandistiller": (WANDISTILLER, "a checkout of kat3ri/WanDistiller", "train_distillation.py"),
    "tinyworlds": (TINYWORLDS, "a checkout of AlmondGod/tinyworlds", "models/dynamics.py"),
}
"""Command-line option -> (name, what it is, a file that must be there)."""


@dataclass(frozen=True)
class Peers:
    """Folders of checkouts; None where a peer is absent. diffusers is a package, and there or not."""

    comfyui: Path | None = None
    official: Path | None = None
    wandistiller: Path | None = None
    tinyworlds: Path | None = None

    def __post_init__(self) -> None:
        for option, (_, what, file) in OPTIONS.items():
            folder = getattr(self, option)
            if folder is not None and not (folder / file).is_file():
                raise ValueError(f"--{option} is {folder}, which has no {file}; give {what}.")

    @property
    def has_diffusers(self) -> bool:
        """Whether diffusers is installed."""
        return importlib.util.find_spec("diffusers") is not None

    def describe(self) -> dict[str, str]:
        """Return the version of each peer by its name, or why it is absent."""
        found = {name: self._describe(option) for option, (name, _, _) in OPTIONS.items()}
        return found | {DIFFUSERS: "installed" if self.has_diffusers else "absent: not installed"}

    def list_options(self) -> list[str]:
        """Return the command-line options that name the same peers."""
        return [f"--{option}={path}" for option, path in asdict(self).items() if path is not None]

    def _describe(self, option: str) -> str:
        folder = getattr(self, option)
        if folder is None:
            return f"absent: --{option} was not given"
        command = ["git", "-C", str(folder), "describe", "--always", "--tags"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "of unknown version"


def import_file(path: Path, name: str) -> Any:
    """Import one file of a checkout as a module of the given name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path} cannot be imported; give a whole checkout.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def importing_from(folder: Path, empty: tuple[str, ...] = ()) -> Iterator[None]:
    """Let imports find the modules of a checkout, and nothing in those named ``empty``.

    Args:
        folder: The checkout.
        empty: Modules that it imports and that the measured part does not use.
    """
    for name in empty:
        sys.modules.setdefault(name, _EmptyModule(name))
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


class _EmptyModule(types.ModuleType):
    """A module in which every public name is found, and is nothing."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def import_comfyui(root: Path) -> None:
    """Make ``comfy`` importable, on the processor, with what it needs from its own environment behind ours."""
    if str(root) in sys.path:
        return
    sys.path.insert(0, str(root))
    sys.path += [str(folder) for folder in root.glob(".venv/lib/python*/site-packages")]
    argv, sys.argv = sys.argv, ["", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args

    sys.argv = argv
