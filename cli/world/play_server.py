"""The page of ``wan-lite play``: a server for this machine alone, behind a token that its address carries.

Every path begins with the token. Requests for another ``Host``, or from a page of another ``Origin``, are refused: a
site that is open in the same browser can neither read nor play.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...models.world import RolloutConfig, World
from ...pipeline.play.sessions import CALLS, Stage, UnknownSession, WorldSessions
from ...pipeline.videos.writing import ANIMATIONS, VIDEO_FILES, write_video
from .session_files import arrange_video, join_context

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Game", "make_application", "serve"]

LARGEST_BODY = 2**20
HERE = Path(__file__).parent / "page"
SHARED = Path(__file__).parents[2] / "web" / "play"
ASSETS = {
    "": HERE / "index.html",
    "page.js": HERE / "page.js",
    "page.css": HERE / "page.css",
    "player.js": SHARED / "player.js",
}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
SWEEP_SECONDS = 5.0


@dataclass
class Game:
    """What is played, and the sessions of it."""

    world: World
    context: Tensor
    config: RolloutConfig
    seed: int
    fps: float
    scale: int
    source: dict[str, Any]
    sessions: WorldSessions = field(default_factory=WorldSessions)


def serve(game: Game, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until interrupted.

    Args:
        game: To play.
        port: On 127.0.0.1; 0 is a free one.
        ready: Called with the page's address once it can be opened.

    Raises:
        ValueError: Aiohttp is not installed.
        OSError: The port is taken.
    """
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ValueError("play: its page needs aiohttp; install it (pip install wan-lite[play]).") from error
    try:
        asyncio.run(_serve(game, port, ready))
    except KeyboardInterrupt:
        return


async def _serve(game: Game, port: int, ready: Callable[[str], None]) -> None:
    from aiohttp import web

    token = secrets.token_urlsafe(24)
    runner = web.AppRunner(make_application(game, token), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    try:
        await site.start()
        ready(f"http://127.0.0.1:{runner.addresses[0][1]}/{token}/")
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            game.sessions.free_idle()
    finally:
        await runner.cleanup()


def make_application(game: Game, token: str) -> web.Application:
    """Return the server's routes, all of them below ``/<token>/``."""
    from aiohttp import web

    application = web.Application(client_max_size=LARGEST_BODY, middlewares=[_make_guard(token)])
    for name, path in ASSETS.items():
        application.router.add_get(f"/{token}/{name}", _make_asset(path))
    handlers = _Handlers(game)
    for call in (*CALLS, "open", "close", "export"):
        application.router.add_post(f"/{token}/{call}", handlers.make(call))
    return application


def _make_guard(token: str) -> Any:
    """Return the middleware that refuses whoever is not the page itself."""
    from aiohttp import web

    @web.middleware
    async def guard(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        transport = request.transport
        port = transport.get_extra_info("sockname")[1] if transport is not None else 0
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        origin = request.headers.get("Origin")
        first = request.path.removeprefix("/").partition("/")[0]
        is_known = secrets.compare_digest(first.encode(), token.encode())
        if request.host not in hosts or (origin is not None and origin not in [f"http://{host}" for host in hosts]):
            return _refuse(403, "This page is for this machine alone.")
        if not is_known:
            return _refuse(403, "The address lacks its token; use the one that the command printed.")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _refuse(error.status, error.reason)

    return guard


def _refuse(status: int, sentence: str) -> web.Response:
    from aiohttp import web

    return web.json_response({"error": sentence}, status=status, headers=HEADERS)


def _make_asset(path: Path) -> Callable[[web.Request], Awaitable[web.Response]]:
    from aiohttp import web

    async def send(request: web.Request) -> web.Response:
        return web.Response(body=path.read_bytes(), content_type=TYPES[path.suffix], charset="utf-8", headers=HEADERS)

    return send


class _Handlers:
    """Answers of the server; the work is done in threads, so that it keeps answering."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.stage = Stage(lambda: game.world, game.context, game.config)

    def make(self, call: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Return the handler of one call."""
        from aiohttp import web

        async def handle(request: web.Request) -> web.Response:
            try:
                message = await _read_message(request)
                answer = await asyncio.to_thread(self._answer, call, message)
            except UnknownSession as error:
                return _refuse(410, str(error))
            except ValueError as error:
                return _refuse(400, str(error))
            if isinstance(answer, bytes):
                return web.Response(body=answer, content_type="application/octet-stream", headers=HEADERS)
            return web.json_response(answer, headers=HEADERS)

        return handle

    def _answer(self, call: str, message: dict[str, Any]) -> dict[str, Any] | bytes:
        sessions = self.game.sessions
        if call == "open":
            answer = sessions.open(self.stage, {"seed": self.game.seed, **message})
            return {**answer, "fps": self.game.fps}
        if call == "close":
            return sessions.close(message)
        if call == "export":
            return self._export(message)
        answer = sessions.answer(call, message)
        if call == "record":  # with what is needed to play it again from a terminal
            answer["record"] = json.dumps({**json.loads(answer["record"]), "source": self.game.source})
        return answer

    def _export(self, message: dict[str, Any]) -> bytes:
        """Write the session as a video."""
        ending = message.get("format")
        if ending not in (*ANIMATIONS, *VIDEO_FILES):
            raise ValueError(
                f"format: {str(ending)[:20]!r} given; give one of {', '.join((*ANIMATIONS, *VIDEO_FILES))}."
            )
        frames = self.game.sessions.read_frames(message)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"session{ending}"
            shown = arrange_video(join_context(self.game.context, frames), self.game.scale)
            write_video(shown, path, self.game.fps)
            return path.read_bytes()


async def _read_message(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that was posted.

    Raises:
        ValueError: It is not one.
    """
    if request.content_type != "application/json":
        raise ValueError(f"The request has {request.content_type}; send application/json.")
    try:
        message = json.loads(await request.read())
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ValueError("The request is not JSON.") from None
    if not isinstance(message, dict):
        raise ValueError("The request is not a JSON object.")
    return message
