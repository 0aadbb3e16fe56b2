"""Fixtures of the host tests: the worker process. The server is shared with the browser tests (tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host.client import Client
from host.comfyui import ComfyUI
from host.large_models import STAND_INS, make_base_of_stand_ins
from host.server import Server
from host.worker import Worker


@pytest.fixture(scope="session")
def worker(comfyui: ComfyUI, comfyui_base: Path) -> Iterator[Worker]:
    """A process with ComfyUI's own interpreter and this pack in it."""
    worker = Worker(comfyui, comfyui_base)
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def stand_ins(comfyui: ComfyUI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server in which every shipped workflow runs: tiny models stand for those that are downloaded."""
    base = make_base_of_stand_ins(tmp_path_factory.mktemp("large"))
    with Server(comfyui, base, arguments=("--whitelist-custom-nodes", "wan-lite", STAND_INS.name)) as server:
        yield Client(server)
