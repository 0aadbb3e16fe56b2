"""A real ComfyUI server for the tests: isolated folders, this pack as its only custom node, stopped properly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from host.comfyui import ComfyUI

PACK = Path(__file__).resolve().parents[2]
PACK_NAME = "wan-lite"
VECTORS = PACK / "tests" / "vectors"


def make_base(base: Path, *, with_models: bool = True) -> Path:
    """Fill ``base`` as a ComfyUI ``--base-directory``: the pack as a symlink, and models made from the vectors."""
    for folder in ("user/default", "custom_nodes", "input", "output", "temp"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "custom_nodes" / PACK_NAME).symlink_to(PACK, target_is_directory=True)
    _fill_user(base / "user" / "default")
    (base / "models").mkdir()
    if with_models:
        _fill_models(base / "models")
    return base


def _fill_user(user: Path) -> None:
    """A user who has been here before: no tour over the first page, no file missing that the page asks for."""
    for folder in ("workflows", "subgraphs"):
        (user / folder).mkdir()
        (user / folder / ".keep").touch()
    (user / "user.css").touch()
    (user / "comfy.templates.json").write_text("[]", "utf-8")
    settings = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingModelsWarning": True}
    (user / "comfy.settings.json").write_text(json.dumps(settings), "utf-8")


def _fill_models(models: Path) -> None:
    """Copies, never links: the loaders refuse a file that resolves to somewhere outside of the models folder."""
    for folder in ("vae", "wan_students", "wan_lite_embeds", "world_models"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    for name in ("wan21_tiny", "wan22_tiny"):
        shutil.copyfile(VECTORS / "wan_vae" / f"{name}_official.safetensors", models / "vae" / f"{name}.safetensors")
    for name in ("student_16ch", "student_4ch"):
        shutil.copytree(
            VECTORS / name, models / "wan_students" / name, ignore=shutil.ignore_patterns("golden*", "*.md")
        )
        text = load_file(VECTORS / name / "golden.safetensors")["text"]
        write_embeds(models / "wan_lite_embeds" / f"{name}.safetensors", [text], ["the golden prompt"])
    if (VECTORS / "tinyworlds").is_dir():
        shutil.copytree(VECTORS / "tinyworlds", models / "world_models" / "tinyworlds")


def write_embeds(path: Path, texts: list[torch.Tensor], captions: list[str]) -> None:
    """Write text rows (l_i, d) as a ``wan_lite_embeds`` file."""
    names = ["text"] if len(texts) == 1 else [f"text.{i}" for i in range(len(texts))]
    tensors = {name: text.contiguous() for name, text in zip(names, texts, strict=True)}
    save_file(tensors, path, {"wan_lite.captions": json.dumps(captions)})


def host_environment() -> dict[str, str]:
    """Environment for a ComfyUI process: none of this interpreter's settings, one thread, no network."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    return environment | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def isolation_arguments(base: Path, *, api_nodes: bool = False) -> list[str]:
    """Command-line arguments that keep a ComfyUI on the CPU and inside ``base``, with this pack only."""
    return [
        *("--cpu", *([] if api_nodes else ["--disable-api-nodes"])),
        *("--base-directory", str(base), "--database-url", "sqlite:///:memory:"),
        *("--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK_NAME),
    ]


class Server:
    """One ComfyUI process on a free port, or on the one that is given; use as a context manager."""

    def __init__(
        self,
        comfyui: ComfyUI,
        base: Path,
        *,
        arguments: tuple[str, ...] = (),
        api_nodes: bool = False,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.comfyui, self.base = comfyui, base
        self.environment = host_environment() | dict(environment or {})
        self.arguments = (*isolation_arguments(base, api_nodes=api_nodes), *arguments)
        self.log_path = base / "server.log"
        self.seconds_to_ready = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._port = port

    @property
    def url(self) -> str:
        """Address of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Port of the server; 0 before it has one."""
        return self._port

    @property
    def pid(self) -> int:
        """Id of the server's process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Server:
        self._port = self._port or _free_port()
        started = time.monotonic()
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(str(self.comfyui.python), "main.py", *self.arguments),
                    *("--listen", "127.0.0.1", "--port", str(self._port), "--disable-auto-launch"),
                ],
                cwd=self.comfyui.root,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        try:
            self._wait_until_ready(timeout=300)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_ready = time.monotonic() - started
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self, timeout: float = 60) -> None:
        """Ask the process to end (SIGTERM) and wait for it; kill it when it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check_alive(self) -> None:
        """Raise with the end of the log when the process has died."""
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with code {self._process.returncode}:\n{self.log_tail()}")

    def log(self) -> str:
        """Everything that the server has written."""
        return self.log_path.read_text("utf-8", errors="replace")

    def log_tail(self, lines: int = 60) -> str:
        """The last lines that the server has written, each cut to 300 characters."""
        return "\n".join(line[:300] for line in self.log().splitlines()[-lines:])

    def _wait_until_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                with urllib.request.urlopen(f"{self.url}/system_stats", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise TimeoutError(f"ComfyUI did not answer within {timeout:.0f} s:\n{self.log_tail()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
