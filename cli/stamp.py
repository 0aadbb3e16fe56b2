"""``wan-lite stamp``: write a sampling contract, names of actions or colours of previews into a file's header."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .terminal import say

if TYPE_CHECKING:
    from ..samplers.contract import SamplingContract

__all__ = ["add_stamp", "run_stamp"]

BY_NAME = ""
"""``--known`` without an id."""


def add_stamp(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``stamp``."""
    parser.add_argument(
        "student",
        help="a student's folder or single file; with --known a LoRA or checkpoint; with --action-names a world's file",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--contract", metavar="PRESET", help="a named way of sampling, such as 'flow_unipc-20 shift 5'")
    which.add_argument("--contract-file", metavar="JSON", help="a contract as JSON")
    which.add_argument(
        "--action-names", metavar="NAMES",
        help="for a world's file: a name for each action, in the order of the ids, such as stay,left,right",
    )  # fmt: skip
    which.add_argument(
        "--known", metavar="ID", nargs="?", const=BY_NAME,
        help="the contract of a known student (see `wan-lite known`); without ID the one that the file's name tells",
    )  # fmt: skip
    which.add_argument(
        "--preview", metavar="VAE", help="the colours of live previews, fitted to the VAE that decodes the student"
    )
    parser.add_argument(
        "--alternative", type=int, default=0, help="with --known: which of its contracts (0: the first)"
    )
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--shift", type=float, help="instead of the preset's")
    parser.add_argument("--cfg", type=float, help="instead of the preset's")
    parser.add_argument("--replace", action="store_true", help="replace what is there already")
    parser.set_defaults(run=run_stamp)


def run_stamp(options: argparse.Namespace) -> None:
    """Write the contract and print it."""
    from ..pipeline.stamping import stamp_student
    from ..samplers.formatting import format_contract

    if options.action_names is not None:
        _name_actions(options)
        return
    if options.preview is not None:
        _stamp_preview(options)
        return
    changes = {name: value for name in ("steps", "shift", "cfg") if (value := getattr(options, name)) is not None}
    if options.known is not None:
        file, contract = _stamp_known(options, changes)
    else:
        file, contract = stamp_student(
            options.student, options.contract, options.contract_file, changes, replace_existing=options.replace
        )
    say(f"{file}: {format_contract(contract)}")


def _name_actions(options: argparse.Namespace) -> None:
    from ..models.world import load_world
    from ..models.world.action_names import write_action_names

    path = Path(options.student)
    names = [name.strip() for name in options.action_names.split(",")]
    world = load_world(path)
    if world.action_names and not options.replace:
        raise ValueError(f"{path.name}: its actions have names ({', '.join(world.action_names)}); --replace replaces.")
    write_action_names(path, names, world.n_actions)
    say(f"{path}: {', '.join(f'{number} {name}' for number, name in enumerate(names))}")


def _stamp_preview(options: argparse.Namespace) -> None:
    from ..pipeline.stamping import stamp_preview

    file, colours = stamp_preview(options.student, options.preview, replace_existing=options.replace)
    say(f"{file}: preview colours of {len(colours.factors)} channels, fitted to {Path(options.preview).name}")


def _stamp_known(options: argparse.Namespace, changes: dict[str, float]) -> tuple[Path, SamplingContract]:
    from ..models.known_students import load_known_students
    from ..pipeline.stamping import stamp_known

    if changes:
        raise ValueError(
            f"--{next(iter(changes))} is given with --known, but a known student was trained at its own levels; leave "
            "it out, or write a contract of your own with --contract-file."
        )
    return stamp_known(
        options.student,
        options.known or None,
        load_known_students(),
        alternative=options.alternative,
        replace_existing=options.replace,
    )
