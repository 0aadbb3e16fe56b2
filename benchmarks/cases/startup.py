"""What a fresh start costs: importing the package, and ComfyUI with and without it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..bench import Bench, Case
from ..peers import COMFYUI
from ..processes import measure_fresh_start
from ..records import OURS, Entry, Figure, Outcome, Row, Spread

__all__ = ["CASES"]

SECTION = "Start"
PACK = Path(__file__).resolve().parents[2]
IMPORTS = {
    "torch alone": "import torch",
    f"{OURS}, the samplers": "import wan_lite.samplers",
    f"{OURS}, the whole library": "import wan_lite.models, wan_lite.pipeline.generation; wan_lite.models.load_wan_vae",
}


def measure_imports(bench: Bench) -> Outcome:
    """Time fresh interpreters that import torch, and the package with it."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    measure_fresh_start(IMPORTS["torch alone"], 1)
    for _ in range(bench.rounds):
        for name, code in IMPORTS.items():
            seconds[name] += measure_fresh_start(code, 1)
    row = _compare("a fresh interpreter imports", seconds)
    names = list(seconds)
    beside = statistics.median(b - a for a, b in zip(seconds[names[0]], seconds[names[-1]], strict=True))
    return bench.conclude(rows=(row,), figures=(Figure("seconds of the import beside torch", beside, "s"),))


def measure_host(bench: Bench) -> Outcome:
    """Time ComfyUI's own start without and with the pack."""
    if bench.peers.comfyui is None:
        return bench.conclude()
    seconds: dict[str, list[float]] = {f"{COMFYUI} alone": [], f"{COMFYUI} with the pack": []}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "custom_nodes").mkdir()
        (base / "custom_nodes" / "wan-lite").symlink_to(PACK, target_is_directory=True)
        for number in range(bench.rounds + 1):
            for name in seconds:
                taken = _start_host(bench.peers.comfyui, base, with_pack=name.endswith("pack"))
                if number:
                    seconds[name].append(taken)
    alone, with_pack = seconds.values()
    beside = statistics.median(b - a for a, b in zip(alone, with_pack, strict=True))
    row = _compare("the server is ready and ends", seconds)
    return bench.conclude(rows=(row,), figures=(Figure("seconds that the pack adds to the start", beside, "s"),))


def _start_host(root: Path, base: Path, *, with_pack: bool) -> float:
    python = root / ".venv" / "bin" / "python"
    command = [
        *(str(python if python.is_file() else sys.executable), "main.py", "--cpu", "--quick-test-for-ci"),
        *("--base-directory", str(base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes"),
        *("--disable-all-custom-nodes", *(["--whitelist-custom-nodes", "wan-lite"] if with_pack else [])),
    ]
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    started = time.perf_counter()
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def _compare(what: str, seconds: dict[str, list[float]]) -> Row:
    first = next(iter(seconds.values()))
    entries = [
        Entry(
            name,
            wall=statistics.median(taken),
            ratio=None if taken is first else Spread.of([b / a for a, b in zip(first, taken, strict=True)]),
        )
        for name, taken in seconds.items()
    ]
    return Row(what, tuple(entries), count=len(first))


CASES = [Case("start-import", SECTION, measure_imports), Case("start-comfyui", SECTION, measure_host)]
