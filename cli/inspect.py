"""``wan-lite inspect``: what a file or folder is."""

from __future__ import annotations

import argparse

from .terminal import say

__all__ = ["add_inspect"]


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``inspect``."""
    parser.add_argument("path", nargs="+", help="a student's folder or file, a VAE, text embeddings, a world model")
    parser.set_defaults(run=run_inspect)


def run_inspect(options: argparse.Namespace) -> None:
    """Print a description of each path."""
    from ..pipeline.inspection import inspect

    for number, path in enumerate(options.path):
        say(("\n" if number else "") + str(inspect(path)))
