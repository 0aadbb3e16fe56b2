"""The player's calls. They name a node that has run, and no path: no file is opened for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ...pipeline.play.sessions import CALLS, UnknownSession
from ..world.play_stages import SESSIONS, STAGES, Busy, Place
from .requests import read_json, refuse

__all__ = ["PLAY_ROUTES", "answer_play"]

LARGEST_BODY = 2 << 20
"""Bytes of a call; the longest session has a few hundred thousand."""


def answer_play(call: str, message: dict[str, Any]) -> dict[str, Any]:
    """Answer one call: ``open`` with a ``workflow`` and a ``node``, ``close``, or one of an open session.

    A node that has not run yet has no session to open: the answer's ``session`` is null, and the page runs it.

    Raises:
        UnknownSession: The session is not open any more.
        Busy: A workflow runs.
        ValueError: The message is not allowed.
    """
    if call == "close":
        return SESSIONS.close(message)
    if call != "open":
        return SESSIONS.answer(call, message)
    place = Place(str(message.get("workflow", "")), str(message.get("node")))
    stage = STAGES.find(place, has_run=message.get("has_run") is True)
    return {"session": None} if stage is None else SESSIONS.open(stage, message)


def _make_handler(call: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        message = await read_json(request, LARGEST_BODY)
        try:
            return web.json_response(await asyncio.to_thread(answer_play, call, message))
        except Busy as error:
            raise refuse(web.HTTPServiceUnavailable, str(error)) from None
        except UnknownSession as error:
            raise refuse(web.HTTPGone, str(error)) from None
        except ValueError as error:
            raise refuse(web.HTTPBadRequest, str(error)) from None

    return handle


PLAY_ROUTES = tuple((f"/wan-lite/play/{call}", _make_handler(call)) for call in ("open", "close", *CALLS))
"""Paths that are posted to, and what answers."""
