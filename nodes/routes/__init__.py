"""What the pack answers on the host's server, beside its nodes: for the page's own scripts."""

from __future__ import annotations

from typing import Any

from ..host.progress import get_server
from .check import answer_check
from .play import PLAY_ROUTES

__all__ = ["register_routes"]

ROUTES = (("/wan-lite/check", answer_check), *PLAY_ROUTES)
"""Paths that are posted to, and what answers; the host's own rules on ``Origin`` and ``Host`` hold for them too."""


def register_routes() -> None:
    """Add the routes to the host's server, once; a host without a server has none."""
    server = get_server()
    routes: Any = getattr(server, "routes", None)
    known = {getattr(route, "path", None) for route in routes or ()}
    for path, handler in ROUTES:
        if routes is not None and path not in known:
            routes.post(path)(handler)
