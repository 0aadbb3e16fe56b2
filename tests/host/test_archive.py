"""The archive that the registry would get: valid, without what users do not need, and enough for an empty ComfyUI."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from host.client import Client
from host.comfyui import ComfyUI
from host.server import PACK, PACK_NAME, Server, make_base

FIRST_WORKFLOW = PACK / "workflows" / "api" / "student_ddim_training_sampling.json"


def comfy_cli(folder: Path, *arguments: str) -> str:
    """Output of a comfy-cli command run in ``folder``, with a home of its own: no person's settings are used."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    environment = os.environ | {"HOME": str(home), "DO_NOT_TRACK": "1", "COLUMNS": "200", "TZ": "UTC"}
    command = Path(sys.executable).with_name("comfy")
    done = subprocess.run(
        [str(command), "--skip-prompt", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's tracked files, as a repository of its own."""
    if not (PACK / ".git").exists():
        pytest.skip("this is not a git checkout, so there is no list of tracked files")
    folder = tmp_path_factory.mktemp("archive") / PACK_NAME
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PACK, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (PACK / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PACK / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def archive(checkout: Path) -> Path:
    """What `comfy node pack` makes of it."""
    comfy_cli(checkout, "node", "pack")
    return checkout / "node.zip"


def test_registry_finds_nothing_to_say(checkout: Path) -> None:
    said = comfy_cli(checkout, "node", "validate")
    assert "All validation checks passed" in said
    assert "Warning" not in said


def test_icon_is_one_that_the_registry_takes() -> None:
    """An address in the repository that is named above it, of a picture of at most 800x400 pixels."""
    declared = (PACK / "pyproject.toml").read_text("utf-8")
    (repository,) = re.findall(r'^Repository = "https://github.com/(.+)"$', declared, re.MULTILINE)
    (icon,) = re.findall(r'^Icon = "https://raw.githubusercontent.com/(.+)"$', declared, re.MULTILINE)
    assert icon.startswith(f"{repository}/main/")
    picture = Image.open(PACK / icon.removeprefix(f"{repository}/main/"))
    assert picture.format == "PNG" and picture.width <= 800 and picture.height <= 400


def test_archive_holds_what_users_need_and_no_more(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
    folders = {name.split("/")[0] for name in names}
    assert {
        "__init__.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "nodes",
        "models",
        "samplers",
        "workflows",
    } <= folders
    assert not folders & {"tests", "benchmarks", "scripts", ".github", ".ci", "Makefile"}
    assert not [name for name in names if name.startswith("demo/train/")]
    assert archive.stat().st_size < 25_000_000


def test_archives_of_one_commit_are_the_same_bytes(checkout: Path) -> None:
    """Whenever the files were written."""
    packed = []
    for written in (1_000_000_000, 1_700_000_000):
        for path in checkout.rglob("*"):
            if path.is_file() and ".git" not in path.relative_to(checkout).parts:
                os.utime(path, (written, written))
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1750000000"}
        subprocess.run(["sh", "scripts/set_times.sh"], cwd=checkout, env=environment, check=True)
        comfy_cli(checkout, "node", "pack")
        packed.append((checkout / "node.zip").read_bytes())
    assert packed[0] == packed[1]


def test_archive_runs_the_first_workflow_in_an_empty_comfyui(comfyui: ComfyUI, archive: Path, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", with_models=False)
    (base / "custom_nodes" / PACK_NAME).unlink()
    with zipfile.ZipFile(archive) as file:
        file.extractall(base / "custom_nodes" / PACK_NAME)
    with Server(comfyui, base) as server:
        result = Client(server).queue(json.loads(FIRST_WORKFLOW.read_text("utf-8")))
        assert (result.status, result.error, result.node_errors) == ("success", None, {})
        assert list((base / "output").rglob("*.png"))
    with pytest.raises(RuntimeError, match="ended with code"):
        server.check_alive()
