"""One process with ComfyUI's own interpreter, in which the functions of tests/host/inside/check_*.py run."""

from __future__ import annotations

import ast
import contextlib
import json
import selectors
import subprocess
import time
from pathlib import Path
from typing import Any

from host.comfyui import ComfyUI
from host.server import host_environment, isolation_arguments

INSIDE = Path(__file__).parent / "inside"


def find_checks(folder: Path = INSIDE) -> list[str]:
    """Return ``module.function`` of every check, found without importing (they need ComfyUI to import)."""
    return [
        f"{path.stem}.{statement.name}"
        for path in sorted(folder.glob("check_*.py"))
        for statement in ast.parse(path.read_text("utf-8"), str(path)).body
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("check_")
    ]


class Worker:
    """Runs checks one after another in one ComfyUI process, which is started when first needed."""

    def __init__(self, comfyui: ComfyUI, base: Path, *, inside: Path = INSIDE) -> None:
        self.comfyui, self.base, self.inside = comfyui, base, inside
        self.log_path = base / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, check: str, timeout: float = 300) -> dict[str, Any]:
        """Run one check. Returns ``outcome`` (passed, failed), ``text`` and the ``log`` of the run."""
        if self._process is None:
            started = self._start()
            if started["outcome"] != "ready":
                return started
        return self._ask({"check": check}, timeout)

    def stop(self) -> None:
        """End the process by closing its input; kill it when it does not end."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> dict[str, Any]:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.comfyui.python), str(self.inside / "serve.py")],
                cwd=self.comfyui.root,
                env=host_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        start = {
            "comfyui": str(self.comfyui.root),
            "base": str(self.base),
            "arguments": isolation_arguments(self.base),
        }
        return self._ask(start, timeout=300)

    def _ask(self, question: dict[str, Any], timeout: float) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        line: bytes | None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            line = self._read_line(timeout)
        except BrokenPipeError:
            line = b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            if answer["outcome"] == "failed" and "check" not in question:
                self.stop()
            return answer
        ending = f"did not answer within {timeout:.0f} s"
        if line is not None:
            ending = f"ended with code {process.wait(20)}"
        process.kill()
        self.stop()
        tail = "\n".join(self.log_path.read_text("utf-8", errors="replace").splitlines()[-60:])
        return {"outcome": "failed", "text": f"ComfyUI's process {ending}. The end of its log:\n{tail}"}

    def _read_line(self, timeout: float) -> bytes | None:
        """One line of the answer, empty when the process ended, None when the time is over."""
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if selector.select(max(0.0, deadline - time.monotonic())):
                return bytes(self._process.stdout.readline())
        return None
