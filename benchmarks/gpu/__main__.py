"""Measure everything worth measuring on a graphics card, in one call of less than eight minutes.

    python -m wan_lite.benchmarks.gpu [CASE ...] [--comfyui FOLDER] [--seconds N] [--out FOLDER] [--device D] [--quick]

It needs torch, safetensors, einops, numpy and pillow, and no package index. JSON and Markdown are written after each
case, so that what is measured is kept whatever happens; where time runs out, the cases that are left are named.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from .cases import CASES, Bench
from .codecs import find_peers, write_weights
from .table import Entry, Report
from .timer import Timer

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit code."""
    options = parse(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here; run it where there is one, or try it with --device cpu --quick.")
        return 2
    started = time.perf_counter()
    peers, absent = find_peers(options.comfyui)
    report = Report(describe(device), absent)
    with tempfile.TemporaryDirectory() as folder:
        weights = write_weights(Path(folder) / "wan21.safetensors", options.quick)
        timer = Timer(device, 1, 0) if options.quick else Timer(device)
        bench = Bench(timer, weights, peers, options.quick)
        for name in options.cases or CASES:
            if time.perf_counter() - started > options.seconds:
                report.entries.append(Entry(name, note="left out: no time was left"))
            else:
                print(f"{name} ...", file=sys.stderr, flush=True)
                measure(name, bench, report)
            table = report.write(options.out, options.name)
    print(table)
    return 1 if any(entry.note.startswith("failed") for entry in report.entries) else 0


def measure(name: str, bench: Bench, report: Report) -> None:
    """Run one case; what it measured before it failed is kept."""
    try:
        for entry in CASES[name](bench):
            report.entries.append(entry)
    except Exception as error:  # the other cases are worth having
        report.entries.append(Entry(name, note=f"failed: {type(error).__name__}: {error}"))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m wan_lite.benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", choices=[[], *CASES], help=", ".join(CASES))
    parser.add_argument("--comfyui", type=lambda text: Path(text).expanduser(), help="a ComfyUI checkout")
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--seconds", type=float, default=400.0, help="after which no case is begun (default: 400)")
    parser.add_argument("--out", type=Path, default=Path("out/bench-gpu"), help="default: out/bench-gpu")
    parser.add_argument("--name", default="this-card", help="of the files (default: this-card)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: proves the program only")
    return parser.parse_args(arguments)


def describe(device: torch.device) -> dict[str, Any]:
    """Return the device and the versions."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or "processor",
        "torch": torch.__version__,
        "CUDA": torch.version.cuda if cuda else "none",
        "Python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


if __name__ == "__main__":
    sys.exit(main())
