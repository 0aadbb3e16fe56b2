"""What the host tests rely on, tested where there is no ComfyUI: finding one, and a worker process that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from host.comfyui import ComfyUI, ComfyUINotFound, find_comfyui
from host.worker import Worker, find_checks


def make_comfyui(root: Path, *, python: bool = True) -> Path:
    (root / "comfy").mkdir(parents=True)
    (root / "main.py").touch()
    (root / "comfyui_version.py").write_text('__version__ = "9.8.7"\n')
    if python:
        (root / ".venv/bin").mkdir(parents=True)
        (root / ".venv/bin/python").touch()
    return root


def test_path_from_the_environment_comes_first(tmp_path: Path) -> None:
    make_comfyui(tmp_path / "comfy" / "ComfyUI")
    named = make_comfyui(tmp_path / "named")
    found = find_comfyui({"COMFYUI_PATH": str(named)}, tmp_path)
    assert (found.root, found.version, found.origin) == (named, "9.8.7", "COMFYUI_PATH")
    assert find_comfyui({}, tmp_path).origin == "~/comfy/ComfyUI"


def test_wrong_path_is_not_replaced_by_another(tmp_path: Path) -> None:
    make_comfyui(tmp_path / "ComfyUI")
    assert find_comfyui({}, tmp_path).origin == "~/ComfyUI"
    with pytest.raises(ComfyUINotFound, match="nowhere"):
        find_comfyui({"COMFYUI_PATH": str(tmp_path / "nowhere")}, tmp_path)


def test_missing_interpreter_is_said(tmp_path: Path) -> None:
    root = make_comfyui(tmp_path / "ComfyUI", python=False)
    with pytest.raises(ComfyUINotFound, match="COMFYUI_PYTHON"):
        find_comfyui({}, tmp_path)
    python = root / "python"
    python.touch()
    assert find_comfyui({"COMFYUI_PYTHON": str(python)}, tmp_path).python == python


def make_worker(folder: Path, code: str) -> Worker:
    (folder / "serve.py").write_text("import sys, time\n" + code)
    return Worker(ComfyUI(folder, Path(sys.executable), "none", "test"), folder, inside=folder)


def test_worker_that_dies_is_a_failure_with_its_log(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, 'print(\'{"outcome": "ready"}\', flush=True)\nsys.exit("the end of the log")')
    answer = worker.run("check_x.check_y")
    assert answer["outcome"] == "failed"
    assert "ended with code 1" in answer["text"]
    assert "the end of the log" in answer["text"]


def test_worker_that_hangs_is_a_failure_and_is_ended(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, 'print(\'{"outcome": "ready"}\', flush=True)\ntime.sleep(60)')
    answer = worker.run("check_x.check_y", timeout=0.2)
    assert answer["outcome"] == "failed"
    assert "did not answer" in answer["text"]


def test_checks_are_found_without_importing_them(tmp_path: Path) -> None:
    (tmp_path / "check_a.py").write_text("import comfy\ndef check_one(): ...\ndef other(): ...\n")
    assert find_checks(tmp_path) == ["check_a.check_one"]
