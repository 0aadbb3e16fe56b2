"""Names that no file has, or that are not plain files: every loader says so in one sentence, and opens none of them."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fuzz import child
from fuzz.targets import TARGETS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes pipes and links, reads /proc")

LOADS = {f"{name} {index}": load for name, target in TARGETS.items() for index, load in enumerate(target.loads)}
NAMES = {
    "empty": "",
    "NUL": "a\0b",
    "long": "x" * 5000,
    "long of many bytes": "é" * 200,
    "long path": "a/" * 3000 + "b",
    "up": "../../../../nowhere.safetensors",
    "absolute": "/nowhere/at/all.safetensors",
    "control characters": "\x1b[2J\n.safetensors",
    "not ASCII": "模型 ü.safetensors",
    "not Unicode": "\udcff.safetensors",
    "a device": "/dev/zero",
    "a pipe": "{}/pipe.safetensors",
    "a link to nothing": "{}/dangling.safetensors",
    "a link to itself": "{}/loop.safetensors",
    "a link to a device": "{}/device.pth",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "dangling.safetensors").symlink_to(folder / "nothing")
    (folder / "loop.safetensors").symlink_to(folder / "loop.safetensors")
    (folder / "device.pth").symlink_to("/dev/zero")
    return folder


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """End what reads without end: by its memory, or by the time that it waits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (child.read_status("VmSize") + child.MORE_ADDRESSES, hard))
    signal.alarm(60)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_nothing(found: object) -> bool:
    """Whether a loader has found nothing, or reports what is wrong."""
    return not found or bool(getattr(found, "error", "")) or getattr(found, "contract", found) is None


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_without_a_file_is_refused(
    load: Callable[[Path], object], name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # which the empty name means
    path = Path(name.replace("{}", str(folder)))
    try:
        found = load(path)
    except OSError as error:  # of the system, which names the file; the command line makes a sentence of it
        assert error.errno and error.filename is not None
    except Exception as error:
        assert child.classify(error) == "refused", repr(error)
    else:
        assert is_nothing(found), found
