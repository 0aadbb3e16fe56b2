"""Fixtures shared by all tests, and the last words of a run: which ComfyUI it met, and what was skipped without one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from browser.chromium import HOW_TO_GET_CHROMIUM, find_chromium
from host.client import Client
from host.comfyui import HOW_TO_GET_ONE, ComfyUI, ComfyUINotFound, find_comfyui
from host.server import Server, make_base

TESTS = Path(__file__).parent
_COUNTS = {"host": Counter[str](), "browser": Counter[str]()}


def pytest_configure() -> None:
    """Keep every test process on one thread, so that runs side by side neither fight nor differ in the last digit."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the reference tensors (see the README in each subfolder)."""
    return TESTS / "vectors"


@pytest.fixture(scope="session")
def comfyui() -> ComfyUI:
    """The ComfyUI that host tests use."""
    return find_comfyui()


@pytest.fixture(scope="session")
def comfyui_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``--base-directory`` with this pack and small models, shared by the server and the worker."""
    return make_base(tmp_path_factory.mktemp("comfyui"))


@pytest.fixture(scope="session")
def comfy(comfyui: ComfyUI, comfyui_base: Path) -> Iterator[Client]:
    """A running ComfyUI server with this pack, one for the whole session."""
    with Server(comfyui, comfyui_base) as server:
        yield Client(server)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need ComfyUI or Chromium by their folder, and skip them where it is missing."""
    if "soak" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("soak")])
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
    no_comfyui, no_chromium = _why_no_comfyui(), "" if find_chromium() else "there is no Chromium"
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        for marker in {"host": ["host"], "browser": ["browser", "host"]}.get(folder, []):
            item.add_marker(marker)
        if item.get_closest_marker("host") and no_comfyui:
            item.add_marker(pytest.mark.skip(reason=no_comfyui))
        elif item.get_closest_marker("browser") and no_chromium:
            item.add_marker(pytest.mark.skip(reason=no_chromium))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count how the host and browser tests ended."""
    if report.when == "call" or (report.when == "setup" and not report.passed):
        kind = "browser" if "browser" in report.keywords else "host" if "host" in report.keywords else ""
        if kind:
            _COUNTS[kind][report.outcome] += 1


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which ComfyUI the host tests met and how many ran; where there is none, say so loudly and how to get one."""
    if not any(_COUNTS.values()):
        return
    reason = _why_no_comfyui()
    skipped = any(counts["skipped"] for counts in _COUNTS.values())
    terminalreporter.section("host tests", yellow=skipped, bold=True)
    terminalreporter.write_line(f"SKIPPED FOR WANT OF A COMFYUI: {reason}" if reason else str(find_comfyui()))
    for kind, counts in _COUNTS.items():
        ran = counts["passed"] + counts["failed"]
        terminalreporter.write_line(f"{kind} tests: {ran} ran ({counts['failed']} failed), {counts['skipped']} SKIPPED")
    if reason:
        terminalreporter.write_line(HOW_TO_GET_ONE)
    elif not find_chromium():
        terminalreporter.write_line(HOW_TO_GET_CHROMIUM)


def _why_no_comfyui() -> str:
    try:
        find_comfyui()
    except ComfyUINotFound as reason:
        return str(reason)
    return ""
