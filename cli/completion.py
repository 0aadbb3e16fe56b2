"""``wan-lite completion``: the completion script of a shell, made by shtab."""

from __future__ import annotations

import argparse

__all__ = ["add_completion", "run_completion"]

SHELLS = ("bash", "zsh", "tcsh")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``completion``."""
    parser.add_argument("shell", choices=SHELLS, help='whose script; for bash: eval "$(wan-lite completion bash)"')
    parser.set_defaults(run=run_completion)


def run_completion(options: argparse.Namespace) -> None:
    """Print the script."""
    try:
        import shtab
    except ImportError as error:
        raise ValueError(
            "completion needs the package shtab, which is not installed: `pip install wan-lite[completion]`."
        ) from error
    from . import COMMANDS, build_parser

    print(shtab.complete(build_parser(list(COMMANDS)), shell=options.shell))
