"""``wan-lite batch``: a file of rows through the library's own pipeline, here or on a Ray cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import check_folder, torch_device
from ..terminal import make_bar
from .summary import say_summary

if TYPE_CHECKING:
    from ...batches.engine.run import BatchPlan

__all__ = ["add_batch", "run_batch"]


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``batch``."""
    parser.add_argument("--rows", type=Path, required=True, help="a .csv or .jsonl file: an image or a rollout a row")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of results and manifest (default: out)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="COLUMN=VALUE", dest="constants",
        help="a column's value for rows that have none, such as student=FILE",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=4, help="rows that run together, where they can (default: 4)")
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="what runs them (default: local)")
    parser.add_argument("--address", help="of a Ray cluster, or auto; without it, Ray starts on this machine")
    parser.add_argument(
        "--devices", default="cpu", metavar="LIST",
        help="one for each worker, such as cuda:0,cuda:1 or cpu,cpu (default: cpu)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="of each worker on the CPU (default: 1)")
    parser.add_argument("--retry", action="store_true", help="also run rows again that failed before")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run_batch)


def run_batch(options: argparse.Namespace) -> int:
    """Run the rows that the manifest in the folder does not know yet; returns the exit code."""
    from ...batches.engine.run import run_batch as run_plan

    plan = _make_plan(options)
    with make_bar(options, plan.rows.count, "row") as bar:
        summary = run_plan(plan, lambda _: bar.update() and None)
    return say_summary(summary, options.out)


def _make_plan(options: argparse.Namespace) -> BatchPlan:
    from ...batches.engine.engines import Workplace
    from ...batches.engine.run import BatchPlan
    from ...batches.rows import RowFile

    for name, least, most in (("batch", 1, 1024), ("threads", 1, 1024)):
        if not least <= getattr(options, name) <= most:
            raise ValueError(f"--{name} is {getattr(options, name)}; allowed are {least} to {most}.")
    wrong = [text for text in options.constants if "=" not in text]
    if wrong:
        raise ValueError(f"--set is {wrong[0]!r}; give COLUMN=VALUE, such as student=FILE.")
    if any(text.partition("=")[0] == "name" for text in options.constants):
        raise ValueError("--set name=... gives all rows one file; name each row in a column of the file.")
    devices = [name.strip() for name in options.devices.split(",")]
    if options.engine == "local":
        for name in dict.fromkeys(devices):
            torch_device(name)
    check_folder(options.out)
    place = Workplace(options.out.absolute(), devices, options.threads, options.address)
    constants = dict(text.split("=", 1) for text in options.constants)
    return BatchPlan(RowFile(options.rows), place, options.engine, constants, options.batch, options.retry)
