"""Fixtures and command-line habits shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

VECTORS = Path(__file__).parent / "vectors"


def pytest_configure() -> None:
    """Keep each test process on one thread, so that runs side by side neither fight nor differ."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the reference tensors (see the README in each subfolder)."""
    return VECTORS
