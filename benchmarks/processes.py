"""What only a process of its own can tell: its peak of memory, and how long a fresh start takes."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .peers import Peers
from .timing import Call, time_call

__all__ = ["measure_fresh_start", "measure_in_process", "report"]


def measure_in_process(target: str, arguments: Sequence[Any], peers: Peers, threads: int) -> dict[str, float]:
    """Run a piece of work in a process of its own and return seconds and memory.

    Args:
        target: ``module:function`` of the benchmarks; the function prepares the work and returns it as a ``Call``.
            Its module's ``import_parts``, given the same, imports what is to be there before the clock starts.
        arguments: For it, after the peers; texts and numbers.
        peers: The programs beside us.
        threads: Of torch.

    Returns:
        ``prepare`` and ``run`` seconds, and MB gained: ``loaded`` by the preparation, ``peak`` by the work above it.

    Raises:
        RuntimeError: The process failed; with the end of what it said.
    """
    command = [
        sys.executable,
        "-m",
        f"{__package__}.processes",
        target,
        json.dumps(list(arguments)),
        f"--threads={threads}",
    ]
    done = subprocess.run([*command, *peers.list_options()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{target} {arguments} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_fresh_start(code: str, times: int, python: Path | str = sys.executable) -> list[float]:
    """Return the seconds that a fresh interpreter takes for a piece of code, once for each time."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run([str(python), "-c", code], check=True, capture_output=True)
        found.append(time.perf_counter() - started)
    return found


def report(target: str, arguments: Sequence[Any], peers: Peers) -> dict[str, float]:
    """Do what :func:`measure_in_process` asks its process to do."""
    module, _, name = target.partition(":")
    source = importlib.import_module(f".{module}", __package__)
    source.import_parts(peers, *arguments)
    prepare = getattr(source, name)
    before, started = _read_status("VmRSS"), time.perf_counter()
    work: Call[Any] = prepare(peers, *arguments)
    prepared = time.perf_counter() - started
    gc.collect()
    _restart_peak()
    loaded = _read_status("VmRSS")
    taken, _ = time_call(work)
    peak = _read_status("VmHWM") - loaded
    return {"prepare": prepared, "run": taken.wall, "loaded": loaded - before, "peak": peak}


def _restart_peak() -> None:
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def _read_status(field: str) -> float:
    """Return a size of this process in MB; where there is no /proc, the most that it ever had."""
    path = Path("/proc/self/status")
    if not path.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in path.read_text("utf-8").splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print, as JSON, what one piece of work takes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("target")
    parser.add_argument("arguments")
    parser.add_argument("--threads", type=int, default=1)
    for name in Peers.__dataclass_fields__:
        parser.add_argument(f"--{name}", type=Path)
    options = vars(parser.parse_args())
    torch.set_num_threads(options.pop("threads"))
    target, arguments = options.pop("target"), json.loads(options.pop("arguments"))
    print(json.dumps(report(target, arguments, Peers(**options))))


if __name__ == "__main__":
    main()
