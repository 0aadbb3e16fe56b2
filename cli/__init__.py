"""The command line: ``wan-lite`` or ``python -m wan_lite``.

Each command lives in a module of its own that is imported when the command is used: ``add_<command>(parser)`` declares
its arguments and sets ``run=``, a function that takes the parsed options and may return an exit code. An error of the
library (a ``ValueError``), of the file system, or for want of memory is one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from ..printable import make_line

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS = {
    "sample": ("sample", "sample images with a student"),
    "inspect": ("inspect", "say what a file or folder is: kind, sizes, true image size, sampling contract"),
    "stamp": ("stamp", "write a sampling contract into a student's file; only the header changes"),
    "known": ("known", "list published few-step students and how each was trained to be sampled"),
    "check": ("check", "say what workflow files will sample, and where that contradicts their models"),
    "queue": ("batches.queue", "run a workflow on ComfyUI servers, once for each row of a file"),
    "batch": ("batches.batch", "sample a file of rows without ComfyUI, here or on a Ray cluster"),
    "sheet": ("batches.sheet", "make sheets and a page from what queue or batch made"),
    "probe": ("probe", "find out from evidence which sampling a student wants"),
    "decode": ("decode", "decode the latents of a video, however long, to a video file"),
    "convert": ("convert", "rewrite a checkpoint in another layout"),
    "rollout": ("world.rollout", "play a world model forward"),
    "play": ("world.play", "step into a world model, in a page on this machine"),
    "diagnose": ("world.diagnose", "measure where a world model's rollout drifts"),
    "completion": ("completion", "print the completion script of a shell"),
}
"""Command -> (module in this folder, what it does)."""

WRONG_RESULT = 1
USAGE_ERROR = 2
INTERRUPTED = 128 + 2
BROKEN_PIPE = 128 + 13


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 or the command's own; 1 for a result that cannot be right; 2 for wrong input; 130 when
        interrupted; 141 when whoever reads the output stopped reading.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    options = build_parser(arguments).parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # what Python still wants to write when it ends goes nowhere, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, MemoryError, RuntimeError, ArithmeticError) as error:
        said = _explain(error)
        if options.traceback or said is None:
            raise
        print(make_line(f"wan-lite {options.command}: {said}"), file=sys.stderr)
        return WRONG_RESULT if isinstance(error, ArithmeticError) else USAGE_ERROR
    except KeyboardInterrupt:
        print(f"wan-lite {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code if isinstance(code, int) else 0


class CommandParser(argparse.ArgumentParser):
    """A parser that answers a wrong option itself, not through the parser above it, and names the nearest right one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is not known here: first of all a misspelt option, before what then seems missing."""
        known = self._option_string_actions
        given = list(sys.argv[1:] if args is None else args)
        if self._subparsers is None:
            for name in (argument.partition("=")[0] for argument in given if argument.startswith("--")):
                if name != "--" and not any(option.startswith(name) for option in known):
                    self.error(f"unknown option {name}{_suggest(name, known)}")
        options, unknown = super().parse_known_args(given, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]!r}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage of this command and the message, and exit with 2."""
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: {make_line(message)}\n")


def build_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser, with the arguments of the commands that ``arguments`` names (loading all would be slow)."""
    from .. import __version__

    parser = CommandParser(
        prog="wan-lite", description="Distilled Wan students and small world models, sampled as they were trained."
    )
    parser.add_argument("--version", action="version", version=f"wan-lite {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name in arguments:
            _find_setup(module, name)(command)
    given = next((argument for argument in arguments if not argument.startswith("-")), None)
    if given is not None and given not in COMMANDS:
        parser.error(f"unknown command {given!r}{_suggest(given, COMMANDS) or '; see wan-lite --help'}")
    return parser


def _suggest(given: str, known: Any) -> str:
    nearest = difflib.get_close_matches(given, list(known), 1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _explain(error: Exception) -> str | None:
    """Say an error in one sentence, or return None for one that the library does not foresee."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; check the path, the permissions and the space on the disk."
    if isinstance(error, ValueError | OSError) or _is_non_finite(error):
        return str(error)
    # torch reports a lack of memory, and a disk that is full, as a RuntimeError in words that differ by device
    if isinstance(error, MemoryError) or "memory" in str(error) or "Storage size" in str(error):
        return (
            f"not enough memory ({str(error)[:120]}); ask for smaller or fewer images or frames, or --precision bf16."
        )
    if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
        return "the file could not be written whole; check the space on the disk."
    return None


def _is_non_finite(error: Exception) -> bool:
    from ..models.finite import NonFiniteError

    return isinstance(error, NonFiniteError)


def _find_setup(module: str, command: str) -> Callable[[argparse.ArgumentParser], None]:
    setup: Callable[[argparse.ArgumentParser], None] = getattr(import_module(f".{module}", __name__), f"add_{command}")
    return setup
