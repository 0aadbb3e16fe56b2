"""What a user sees on a node while it runs: the progress bar, a text under it, and the sentence that it stops with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

log = logging.getLogger(__name__)

_MOST_SHOWN = 8


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
    """Log a text in one line, and show it under the node as it is."""
    log.info("Wan Lite: %s", "; ".join(text.splitlines()))
    _send_text(text, hidden.unique_id)


def show_list(hidden: io.HiddenHolder, lines: list[str]) -> None:
    """Show texts under the node, one a line, the first few of many."""
    more = [f"... and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
    show_text(hidden, "\n".join([*lines[:_MOST_SHOWN], *more]))


def show_sentence(sentence: str) -> None:
    """Show a sentence under the node that is running, which may be one of core's."""
    _send_text(sentence, _find_running_node())


@contextmanager
def show_refusals() -> Iterator[None]:
    """Show the sentence of a ValueError under the running node, and let it cross as that and nothing else.

    The page says only that a node failed; type and traceback stand before the sentence in its details.
    """
    try:
        yield
    except ValueError as error:
        show_sentence(str(error))
        if type(error) is ValueError:
            raise
        raise ValueError(str(error)).with_traceback(error.__traceback__) from None


def get_server() -> Any:
    """Return the host's server, None where there is none."""
    from server import PromptServer

    return getattr(PromptServer, "instance", None)


def _send_text(text: str, node_id: str | None) -> None:
    server = get_server()
    if node_id is not None and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, node_id)


def find_running_prompt() -> dict[str, Any] | None:
    """Return the graph that the host runs, the very dict that its savers write; None where it does not tell."""
    try:
        from comfy_execution.progress import get_progress_state
    except ImportError:
        return None
    running: Any = getattr(get_progress_state(), "dynprompt", None)
    return None if running is None else running.get_original_prompt()


def _find_running_node() -> str | None:
    """Return the id of the node that the host runs, None on a host that does not tell."""
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return None
    context = get_executing_context()
    return context.node_id if context else None
