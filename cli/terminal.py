"""What the commands say: lines that no file's content can spoil, and progress bars that stay out of logs."""

from __future__ import annotations

import argparse
import sys
from typing import IO, TYPE_CHECKING, Any

from ..printable import make_printable

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["make_bar", "say"]


def say(text: object, file: IO[str] | None = None) -> None:
    """Print, above a progress bar where there is one, with control characters shown as codes.

    Args:
        text: What to print.
        file: Where to; None is standard output.
    """
    write = sys.modules["tqdm"].tqdm.write if "tqdm" in sys.modules else print
    write(make_printable(str(text)), file=file or sys.stdout)


def make_bar(options: argparse.Namespace, total: int, unit: str) -> tqdm[Any]:
    """Return a progress bar on standard error: none with ``--quiet`` or where that is not a terminal."""
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, disable=options.quiet or None)
