"""Record the levels that a real ComfyUI computes: ``tests/vectors/check/levels.json``.

    python scripts/record_levels.py

Every scheduler of core at several models, shifts and numbers of steps, and every node that makes or changes SIGMAS.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from host.comfyui import find_comfyui
from host.server import VECTORS, host_environment

RECORDING = VECTORS / "check" / "levels.json"
INSIDE = Path(__file__).resolve().parents[1] / "tests" / "host" / "inside"


def main() -> int:
    """Write the recording; returns the exit code."""
    comfyui = find_comfyui()
    command = [str(comfyui.python), str(INSIDE / "record_levels.py"), str(comfyui.root)]
    run = subprocess.run(command, cwd=INSIDE, env=host_environment(), capture_output=True, text=True)
    if run.returncode:
        print(run.stderr)
        return 1
    found = json.loads(run.stdout.splitlines()[-1])
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(short(case)) for case in found[name]) + "\n]"
        for name in ("schedulers", "nodes")
    ]
    head = f'{{"comfyui": "{comfyui.version}", "sigmas": {json.dumps(found["sigmas"])},\n'
    RECORDING.write_text(head + ",\n".join(parts) + "}\n", "utf-8")
    return 0


def short(value: object) -> object:
    """Return the same with numbers of nine significant digits, which tell any two float32 apart."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [short(item) for item in value]
    return value


if __name__ == "__main__":
    sys.exit(main())
