"""Arguments that several commands share, and what they mean to torch."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["add_machine_arguments", "torch_device", "torch_dtype", "writable_folder"]

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
        ValueError: there is no such device here.
    """
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"--device is {name!r}, which this machine does not offer ({reason}); use cpu.") from error
    return device


def writable_folder(folder: Path) -> Path:
    """Make a folder for results and return it, so that a wrong one is known before the work and not after it.

    Raises:
        OSError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return folder
