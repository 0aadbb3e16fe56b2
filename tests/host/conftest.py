"""Fixtures of the host tests: the worker process. The server is shared with the browser tests (tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host.comfyui import ComfyUI
from host.worker import Worker


@pytest.fixture(scope="session")
def worker(comfyui: ComfyUI, comfyui_base: Path) -> Iterator[Worker]:
    """A process with ComfyUI's own interpreter and this pack in it."""
    worker = Worker(comfyui, comfyui_base)
    yield worker
    worker.stop()
