"""Arguments that several commands share, and what they mean to torch."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = [
    "PRECISIONS",
    "add_machine_arguments",
    "check_folder",
    "check_sheet_name",
    "torch_device",
    "torch_dtype",
]

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device`` and ``--precision``."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="of weights and arithmetic (default: fp32)"
    )


def torch_dtype(precision: str) -> torch.dtype:
    """Return the dtype that a ``--precision`` names."""
    import torch

    dtype: torch.dtype = getattr(torch, PRECISIONS[precision])
    return dtype


def torch_device(name: str) -> torch.device:
    """Return the device that a ``--device`` names.

    Raises:
        ValueError: There is no such device here.
    """
    import torch

    try:
        device = torch.device(name)
        if float(torch.zeros(1, device=device)):  # also where there is a device, but no memory behind it: meta
            raise RuntimeError("it does not compute")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"--device is {name!r}, which this machine does not offer ({reason}); use cpu.") from error
    return device


def check_folder(folder: Path) -> Path:
    """Check that results can be written to a folder, which need not be there yet: before the work, not after it.

    Returns:
        The folder.

    Raises:
        OSError: It cannot be made or written to.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))
    return folder


def check_sheet_name(path: Path) -> None:
    """Check that a contact sheet can be written under this name.

    Raises:
        ValueError: Its ending is not that of an image.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"--sheet is {str(path)!r}; give a file name ending in .png, .jpg or .webp.")
