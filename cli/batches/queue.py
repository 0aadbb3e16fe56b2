"""``wan-lite queue``: a workflow on ComfyUI servers, once for each row of a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import check_folder
from ..terminal import make_bar, say
from .summary import FAILED, say_summary

if TYPE_CHECKING:
    from ...batches.queue.run import QueuePlan

__all__ = ["add_queue", "run_queue"]

DEFAULT_SERVER = "http://127.0.0.1:8188"


def add_queue(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``queue``."""
    parser.add_argument("workflow", type=Path, help="a workflow of either format, or an image that carries one")
    parser.add_argument("--rows", type=Path, required=True, help="a .csv or .jsonl file: one run a row")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NODE.INPUT=VALUE", dest="settings",
        help="an input's value for every row; {name} stands for a column, and NODE is an id, a title or a class. A "
        "column that is called NODE.INPUT needs no --set",
    )  # fmt: skip
    parser.add_argument(
        "--server", action="append", metavar="URL", dest="servers",
        help=f"a ComfyUI; may be repeated, and a row goes to whichever is free (default: {DEFAULT_SERVER})",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of results and manifest (default: out)")
    parser.add_argument("--check", action="store_true", help="judge the workflow first, as wan-lite check does")
    parser.add_argument("--retry", action="store_true", help="also run rows again that failed before")
    parser.add_argument("--depth", type=int, default=2, help="prompts that a server has at a time (default: 2)")
    parser.add_argument(
        "--patience", type=float, default=300.0, metavar="SECONDS",
        help="how long to wait when no server answers any more (default: 300)",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run_queue)


def run_queue(options: argparse.Namespace) -> int:
    """Run the rows that the manifest in the folder does not know yet; returns the exit code."""
    plan = _make_plan(options)
    if options.check and not _judge(plan):
        return FAILED
    from ...batches.queue.run import run_queue as run_plan

    with make_bar(options, plan.rows.count, "row") as bar:
        summary = run_plan(
            plan,
            lambda *_: bar.update() and None,
            lambda row, share: bar.set_postfix_str(f"row {row.index}: {share:.0%}"),
        )
    return say_summary(summary, plan.folder)


def _make_plan(options: argparse.Namespace) -> QueuePlan:
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ValueError("queue needs aiohttp; install it (pip install wan-lite[queue]).") from error
    from ...batches.queue.run import QueuePlan
    from ...batches.rows import RowFile

    if not 1 <= options.depth <= 64:
        raise ValueError(f"--depth is {options.depth}; allowed are 1 to 64.")
    if not options.patience >= 0:
        raise ValueError(f"--patience is {options.patience:g}; give seconds, 0 or more.")
    check_folder(options.out)
    return QueuePlan(
        options.workflow,
        options.settings,
        RowFile(options.rows),
        options.out,
        list(dict.fromkeys(options.servers or [DEFAULT_SERVER])),
        options.depth,
        options.patience,
        options.retry,
    )


def _judge(plan: QueuePlan) -> bool:
    """Print what is wrong or doubtful in the workflow with the first row's values; return whether nothing is wrong."""
    from ...batches.queue.binding import bind, fill, load_prompt
    from ...check import check_graph

    prompt = load_prompt(plan.workflow)
    first = next(iter(plan.rows), None)
    if first is not None:
        prompt = fill(prompt, bind(prompt, plan.settings, plan.rows.columns), first)
    findings = [finding for finding in check_graph(prompt).findings if finding.severity != "note"]
    for finding in findings:
        say(
            f"{finding.severity}: node {finding.node} ({finding.title}): {finding.message} {finding.remedy}", sys.stderr
        )
    return not any(finding.severity == "wrong" for finding in findings)
