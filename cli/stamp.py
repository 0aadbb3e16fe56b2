"""``wan-lite stamp``: write a sampling contract into a student's file."""

from __future__ import annotations

import argparse

from .terminal import say

__all__ = ["add_stamp", "run_stamp"]


def add_stamp(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``stamp``."""
    parser.add_argument("student", help="a student's folder or single file")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--contract", metavar="PRESET", help="a named way of sampling, such as 'flow_unipc-20 shift 5'")
    which.add_argument("--contract-file", metavar="JSON", help="a contract as JSON")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--shift", type=float, help="instead of the preset's")
    parser.add_argument("--cfg", type=float, help="instead of the preset's")
    parser.add_argument("--replace", action="store_true", help="replace a contract that is there already")
    parser.set_defaults(run=run_stamp)


def run_stamp(options: argparse.Namespace) -> None:
    """Write the contract and print it."""
    from ..pipeline.contracts import stamp_student
    from ..samplers.formatting import format_contract

    changes = {name: value for name in ("steps", "shift", "cfg") if (value := getattr(options, name)) is not None}
    file, contract = stamp_student(
        options.student, options.contract, options.contract_file, changes, replace_existing=options.replace
    )
    say(f"{file}: {format_contract(contract)}")
