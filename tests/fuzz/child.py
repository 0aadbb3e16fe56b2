"""One process that loads mutants and tells of each, a line of JSON at its start and one at its end.

``python -m fuzz.child TARGET SEED FIRST COUNT`` from the folder ``tests``; with ``--keep FOLDER`` the last mutant stays
there to be looked at.
"""

from __future__ import annotations

import argparse
import dis
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

import wan_lite
from fuzz.pickle_mutations import MARKER
from fuzz.targets import TARGETS, Target

PACKAGE = str(Path(wan_lite.__file__).parent)
LONGEST_LINE = 400
MORE_ADDRESSES = 2**30
"""Bytes of address space beyond those of the process at its start: what asks for more gets an error of memory."""


def main() -> None:
    """Load the mutants that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seed", type=int)
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    target = TARGETS[options.target]
    with tempfile.TemporaryDirectory() as folder:
        work = options.keep or Path(folder) / "work"
        _warm_up(target, work)
        for number in range(options.first, options.first + options.count):
            tell({"start": number})
            chance = random.Random(f"{options.seed} {options.target} {number}")
            tell({"end": number, **try_mutant(target, work, chance)})
            if (work / MARKER).exists() or Path(MARKER).exists():
                tell({"end": number, "kind": "EXECUTED", "message": "a program in the file was run"})
                return


def tell(answer: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def try_mutant(target: Target, work: Path, chance: random.Random) -> dict[str, Any]:
    """Write a mutant, load it, and say how that ended and how much memory it took beyond the files."""
    files = target.mutate(chance)
    write_files(work, files)
    before, began = reset_peak(), time.process_time()
    kind, message, loaded = "loaded", "", None
    try:
        loaded = target.load(work, chance)
    except Exception as error:
        kind, message = classify(error), str(error)
        if kind not in ("refused", "loaded"):
            message = "".join(traceback.format_exception(error))[-3000:]
    wanted = loaded.nbytes if isinstance(loaded, torch.Tensor) else 0  # the frames of a video, which lie there packed
    taken = read_status("VmHWM") - before - sum(map(len, files.values())) - wanted
    return {"kind": kind, "message": message, "bytes": max(0, taken), "seconds": time.process_time() - began}


def write_files(work: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder of their own."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for name, content in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)


def classify(error: Exception) -> str:
    """Return ``refused`` for a sentence of ours, else what is wrong with it."""
    if not isinstance(error, ValueError | ArithmeticError) or not is_raised_by_us(error.__traceback__):
        return "foreign"
    text = str(error)
    return "refused" if text and text.isprintable() and len(text) <= LONGEST_LINE else "not a line"


def is_raised_by_us(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is in this package and stands at a ``raise``, not at a call that failed."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else trace.tb_frame.f_code.co_filename
    if trace is None or not place.startswith(f"{PACKAGE}/") or place.startswith((f"{PACKAGE}/tests/", f"{PACKAGE}/.")):
        return False
    at = trace.tb_lasti
    return any(i.offset == at and i.opname == "RAISE_VARARGS" for i in dis.get_instructions(trace.tb_frame.f_code))


def read_status(key: str) -> int:
    """Return a size in bytes from what the system says of this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(key))


def reset_peak() -> int:
    """Forget the peak of memory; return what is resident now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return read_status("VmRSS")


def _warm_up(target: Target, work: Path) -> None:
    """Load what is loaded once, then limit the memory of this process."""
    for number in range(3):
        try_mutant(target, work, random.Random(number))
    limit = read_status("VmSize") + MORE_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))


if __name__ == "__main__":
    sys.exit(main())
