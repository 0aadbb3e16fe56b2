"""The command line: ``wan-lite`` or ``python -m wan_lite``.

Each command lives in a module of its own that is imported when the command is used: ``add_<command>(parser)`` declares
its arguments and sets ``run=``, a function that takes the parsed options and may return an exit code. An error of the
library (a ``ValueError``), of the file system, or for want of memory is one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

__all__ = ["main"]

COMMANDS = {
    "sample": ("sample", "sample images with a student"),
    "inspect": ("inspect", "say what a file or folder is: kind, sizes, true image size, sampling contract"),
    "stamp": ("stamp", "write a sampling contract into a student's file; only the header changes"),
    "check": ("check", "say what workflow files will sample, and where that contradicts their models"),
    "probe": ("probe", "find out from evidence which sampling a student wants"),
    "convert": ("convert", "rewrite a checkpoint in another layout"),
    "rollout": ("world", "play a world model forward"),
    "diagnose": ("world", "measure where a world model's rollout drifts"),
}
"""Command -> (module in this folder, what it does)."""

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 or the command's own, 2 for wrong input, 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser(arguments).parse_args(arguments)
    try:
        code = options.run(options)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        said = _sentence(error)
        if options.traceback or said is None:
            raise
        print(f"wan-lite {options.command}: {' '.join(said.split())}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"wan-lite {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser, with the arguments of the command that ``arguments`` names (loading all would be slow)."""
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="wan-lite", description="Distilled Wan students and small world models, sampled as they were trained."
    )
    parser.add_argument("--version", action="version", version=f"wan-lite {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name in arguments:
            _setup(module, name)(command)
    return parser


def _sentence(error: Exception) -> str | None:
    """Say an error in one sentence, or None for one that the library does not foresee."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; check the path, the permissions and the space on the disk."
    if isinstance(error, ValueError | OSError):
        return str(error)
    # torch reports a lack of memory as a RuntimeError, in words that differ by device
    if isinstance(error, MemoryError) or "memory" in str(error) or "Storage size" in str(error):
        return (
            f"not enough memory ({str(error)[:120]}); ask for smaller or fewer images or frames, or --precision bf16."
        )
    return None


def _setup(module: str, command: str) -> Callable[[argparse.ArgumentParser], None]:
    return getattr(import_module(f".{module}", __name__), f"add_{command}")
