"""Measure, and write one table: JSON, Markdown and a plot.

    python -m wan_lite.benchmarks [CASE ...] [--comfyui FOLDER] [--official FOLDER] [--wandistiller FOLDER]
        [--tinyworlds FOLDER] [--out FOLDER] [--threads N] [--rounds N] [--seconds N] [--quick] [--list]

CASE is a name or the beginning of several (``image``, ``image-decode-512``); without any, all are measured. What the
JSON in the folder holds of other cases stays, so a long table can be measured piece by piece.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from .bench import Bench, Case
from .machine import describe_load, describe_machine
from .page import draw_plot, write_page
from .peers import OPTIONS, Peers
from .records import Outcome, Run, is_absent
from .registry import CASES, choose_cases

__all__ = ["main"]

QUICK_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit code."""
    options = parse(arguments)
    if options.list:
        print("\n".join(f"{name:20s} {case.section}" for name, case in CASES.items()))
        return 0
    torch.set_num_threads(options.threads)
    peers = Peers(**{name: getattr(options, name) for name in OPTIONS})
    path, failed = options.out / f"{options.name}.json", list[str]()
    run = Run.read(path) if path.is_file() else Run(options.name, {}, {})
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(options.work or folder), peers, options.rounds, options.seconds, options.quick)
        for case in choose_cases(options.cases):
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            try:
                run = run.merge(Run(options.name, describe_run(peers), {case.name: measure(case, bench)}))
            except Exception as error:  # the others are worth having
                failed.append(f"{case.name} failed: {type(error).__name__}: {error}")
            run.write(path)
    write(run, options.out)
    print("\n".join([(options.out / f"{run.name}.md").read_text("utf-8"), *failed]))
    return 1 if failed else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m wan_lite.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE")
    for name, (_, what, _) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=lambda text: Path(text).expanduser(), help=what)
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="folder to write to (default: out/bench)")
    parser.add_argument("--name", default="this-machine", help="of the files (default: this-machine)")
    parser.add_argument("--work", type=Path, help="folder that keeps the random weights for the next time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed rounds, at most, after one that is not (default: 5)"
    )
    parser.add_argument("--seconds", type=float, default=150.0, help="for a comparison, about (default: 150)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: proves the program only")
    parser.add_argument("--list", action="store_true", help="print the cases")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, QUICK_SECONDS
    return options


def measure(case: Case, bench: Bench) -> Outcome:
    """Run one case, and note the machine's load before it, the day, the peers and how long it took."""
    before, started = describe_load(), time.perf_counter()
    outcome = case.measure(bench)
    seconds = round(time.perf_counter() - started, 1)
    peers = {who: said for who, said in bench.peers.describe().items() if not is_absent(said)}
    noted = {"date": datetime.date.today().isoformat(), "peers": peers, "seconds": seconds}
    return replace(outcome, settings={**before, **outcome.settings, **noted})


def describe_run(peers: Peers) -> dict[str, object]:
    """Return the machine and the peers."""
    return {**describe_machine(), "peers": peers.describe()}


def write(run: Run, folder: Path) -> None:
    """Write the Markdown and the plot beside the JSON."""
    (folder / f"{run.name}.md").write_text(write_page([run]), "utf-8")
    draw_plot([run], folder / "pictures" / "benchmarks.png")


if __name__ == "__main__":
    sys.exit(main())
