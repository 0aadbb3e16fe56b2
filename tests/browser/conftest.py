"""Fixtures of the browser tests: a page of the session's ComfyUI server, and a folder for screenshots."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser.page import ComfyPage, new_page, open_browser
from host.client import Client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium for one file of tests (not longer: Playwright keeps an event loop running in this thread)."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, comfy: Client) -> Iterator[ComfyPage]:
    """A fresh page of the server."""
    comfy_page = new_page(chromium, comfy.url)
    yield comfy_page
    comfy_page.page.context.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: ``SCREENSHOTS`` when it is set, else a temporary folder."""
    named = os.environ.get("SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
