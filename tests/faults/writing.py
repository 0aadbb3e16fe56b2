"""Commands that write, run in a fork where the disk is full or read-only, or where the process is killed on the way."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save

from wan_lite.batches.manifest import Record
from wan_lite.cli import main

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
DEMO = ROOT / "demo" / "models"
VAE = VECTORS / "wan_vae" / "wan21_tiny_official.safetensors"
STUDENT = DEMO / "wan_students" / "wan-lite-demo" / "student_ddim.safetensors"
DEMO_VAE = DEMO / "vae" / "wan-lite-demo" / "vae.safetensors"
EMBEDS = f"{DEMO / 'wan_lite_embeds' / 'wan-lite-demo' / 'captions.safetensors'}:0"
WORLD = DEMO / "world_models" / "wan-lite-demo" / "world.safetensors"
CLIP = DEMO / "world_models" / "wan-lite-demo" / "world_clip.safetensors"
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate"}
OLD = b"what was there before"


@dataclass(frozen=True)
class Command:
    """A command that writes: its words, with ``{}`` for the folder, and the files that lie there before."""

    words: tuple[str, ...]
    before: dict[str, Path | bytes]

    def prepare(self, folder: Path) -> list[str]:
        """Make the folder as it is before the command; return the command's arguments."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.before.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        return [word.replace("{}", str(folder)) for word in self.words]


def _make_image() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 0, 0)).save(content, "PNG")
    return content.getvalue()


SAMPLE = ("sample", "--student", str(STUDENT), "--vae", str(DEMO_VAE), "--embeds", EMBEDS, "--steps", "1", "--quiet")
PLAY = ("--world", str(WORLD), "--clip", str(CLIP), "--maskgit-steps", "1", "--quiet")
PROBE = ("probe", "--student", str(STUDENT), "--embeds", EMBEDS, "--batch", "1")
LATENTS = save({"latent_tensor": torch.zeros(1, 16, 2, 2, 2), "latent_format_version_0": torch.zeros(1)})
IMAGE = _make_image()
RECORD = json.dumps(asdict(Record(0, "0" * 24, "done", ({"path": "a.png", "sha256": ""},)))).encode() + b"\n"
COMMANDS = {
    "sample": Command((*SAMPLE, "--on-mismatch", "ignore", "--out", "{}/a.png"), {"a.png": OLD}),
    "convert": Command(("convert", str(VAE), "{}/a.safetensors", "--layout", "diffusers"), {"a.safetensors": OLD}),
    "convert to pth": Command(("convert", str(VAE), "{}/a.pth", "--layout", "official"), {"a.pth": OLD}),
    "convert to folder": Command(("convert", str(VAE), "{}/vae", "--layout", "diffusers"), {"vae/config.json": OLD}),
    "stamp": Command(
        ("stamp", "{}/a.safetensors", "--contract", "flow_unipc-20 shift 5", "--replace"), {"a.safetensors": STUDENT}
    ),
    "rollout": Command(
        ("rollout", *PLAY, "--steps", "1", "--out", "{}/a.gif", "--sheet", "{}/b.png"), {"a.gif": OLD, "b.png": OLD}
    ),
    "play": Command(
        ("play", *PLAY, "--headless", "--actions", "0,1", "--out", "{}/a.gif", "--record", "{}/b.json"),
        {"a.gif": OLD, "b.json": OLD},
    ),
    "decode": Command(
        ("decode", "{}/z.latent", "--vae", str(VAE), "-o", "{}/a.mp4"), {"a.mp4": OLD, "z.latent": LATENTS}
    ),
    "probe": Command((*PROBE, "--candidate", "flow_unipc-20 shift 5", "--quiet", "--out", "{}"), {"report.txt": OLD}),
    "sheet": Command(("sheet", "{}", "--cell", "32"), {"manifest.jsonl": RECORD, "a.png": IMAGE, "sheet.png": OLD}),
    "diagnose": Command(("diagnose", *PLAY, "--frames", "3", "--out", "{}"), {"report.txt": OLD, "drift.png": OLD}),
    "check --fix": Command(
        ("check", str(ROOT / "workflows" / "student_flow_unipc.json"), "--fix", "{}/a.json"), {"a.json": OLD}
    ),
}


@dataclass(frozen=True)
class End:
    """How a command ended: its code, the signal that killed it, what it said, how often it changed the disk."""

    code: int
    signal: int
    said: str
    changes: int


def run_with(fault: Callable[[Path], Any], words: list[str], folder: Path) -> End:
    """Run a command in a fork of this process, after ``fault`` has prepared it for the folder.

    What it says and how often it changes the disk come through pipes, which no full disk stops.
    """
    said, tally = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        _run_child(fault, words, folder, said[1], tally[1])
    os.close(said[1])
    os.close(tally[1])
    with os.fdopen(said[0], "rb") as text, os.fdopen(tally[0], "rb") as marks:
        shown, changes = text.read().decode("utf-8", "replace"), len(marks.read())
    _, status = os.waitpid(child, 0)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    return End(code, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, shown, changes)


def _run_child(fault: Callable[[Path], Any], words: list[str], folder: Path, said: int, tally: int) -> None:
    code = 99
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        fault(folder)
        sys.addaudithook(lambda event, given: _mark(tally) if is_change(event, given, folder) else None)
        code = main(words)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _mark(tally: int) -> None:
    os.write(tally, b".")


def is_change(event: str, given: tuple[Any, ...], folder: Path) -> bool:
    """Whether an audit event changes something in the folder."""
    if event not in CHANGES or not given or not str(given[0]).startswith(str(folder)):
        return False
    return event != "open" or bool((given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


# Faults --------------------------------------------------------------------------------------------------------------


def no_fault(folder: Path) -> None:
    """Leave everything as it is."""


def kill_at(number: int) -> Callable[[Path], None]:
    """Kill the process just before its change of the disk with this number, counted from 0."""

    def fault(folder: Path) -> None:
        seen = [0]

        def hook(event: str, given: tuple[Any, ...]) -> None:
            if is_change(event, given, folder):
                if seen[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen[0] += 1

        sys.addaudithook(hook)

    return fault


def make_read_only(folder: Path) -> None:
    """Refuse every change in the folder, as a file system that is mounted to be read does."""

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if is_change(event, given, folder) and event != "os.remove":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(given[0]))

    sys.addaudithook(hook)


def fill_disk_at(size: int) -> Callable[[Path], None]:
    """Let no file grow beyond so many bytes: writing more is an error."""

    def fault(_: Path) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return fault


def kill_at_size(size: int) -> Callable[[Path], None]:
    """Kill the process in the middle of writing, when a file grows beyond so many bytes."""

    def fault(_: Path) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return fault


# What is there afterwards --------------------------------------------------------------------------------------------


def read_folder(folder: Path) -> dict[str, Any]:
    """What lies in a folder by name, as it can be compared; parts of files are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_part(path)]
    return {path.relative_to(folder).as_posix(): _read(path) for path in files}


def list_parts(folder: Path) -> list[str]:
    """Names of parts of files that were left."""
    return [path.name for path in folder.rglob("*.part")]


def _is_part(path: Path) -> bool:
    """Whether this is a part of a file: ours, or one of safetensors, which writes beside what it is told to write."""
    return path.suffix == ".part" or (path.name.startswith(".tmp") and not path.suffix)


def _read(path: Path) -> Any:
    content = path.read_bytes()
    if path.suffix != ".pth" or content == OLD:  # torch writes the name of the part into the archive
        return content
    tensors = torch.load(path, weights_only=True)
    return sorted((name, value.numpy().tobytes()) for name, value in tensors.items())
