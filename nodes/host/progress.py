"""What a user sees while a node runs: the progress bar, and a text under the node."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

log = logging.getLogger(__name__)


class Progress:
    """Moves the host's progress bar and lets the user interrupt between two pieces of work.

    Call it with (done, total); it raises the host's interruption, which must be let through.
    """

    def __init__(self) -> None:
        self._bar: comfy.utils.ProgressBar | None = None

    def __call__(self, done: int, total: int) -> None:
        """Move the bar to ``done`` of ``total``."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)


def show_text(hidden: io.HiddenHolder, text: str) -> None:
    """Log a text, and show it under the node where the host can."""
    log.info("Wan Lite: %s", text)
    server = get_server()
    if hidden.unique_id is not None and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, hidden.unique_id)


def get_server() -> Any:
    """Return the host's server, None where there is none."""
    from server import PromptServer

    return getattr(PromptServer, "instance", None)
