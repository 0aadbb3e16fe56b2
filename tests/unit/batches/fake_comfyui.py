"""What a ComfyUI does as far as a program that posts prompts can see, without any model."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from typing import Any

from aiohttp import web

SAVER = {
    "input": {"required": {"text": ["STRING", {}], "seed": ["INT", {}]}, "optional": {"note": ["STRING", {}]}},
    "output": [],
}


class FakeComfyUI:
    """A server in a thread of its own; ``Text`` nodes save one file each, whose bytes are their inputs.

    A text "refuse" is refused, "fail" fails while it runs, and "die" ends the server; prompts take ``seconds``.
    """

    def __init__(self, *, seconds: float = 0.0, pack: str = "Text") -> None:
        self.seconds, self.classes = seconds, {pack: SAVER}
        self.ran: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.history: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeComfyUI:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._call(self._start())
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def stop(self) -> None:
        """Be gone: connections break, and everything is forgotten."""
        self._call(self._stop())

    def start(self) -> None:
        """Be there again, at the same address."""
        self._call(self._start())

    def _call(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(20)

    async def _start(self) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/system_stats", self._stats),
                web.get("/object_info/{name}", self._info),
                web.get("/ws", self._listen),
                web.post("/prompt", self._prompt),
                web.get("/history/{id}", self._history),
                web.get("/queue", self._queue),
                web.post("/queue", self._delete),
                web.post("/interrupt", self._delete),
                web.get("/view", self._view),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def _stop(self) -> None:
        self.history.clear()
        for socket in self.sockets.values():
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "0.33.0"}})

    async def _info(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response({name: self.classes[name]} if name in self.classes else {})

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets[request.query["clientId"]] = socket
        async for _ in socket:
            pass
        return socket

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        texts = [node["inputs"]["text"] for node in body["prompt"].values()]
        if "refuse" in texts:
            error = {"message": "Value not in list", "details": "text: 'refuse'"}
            return web.json_response(
                {"error": {"message": "failed"}, "node_errors": {"1": {"class_type": "Text", "errors": [error]}}},
                status=400,
            )
        prompt_id = body.get("prompt_id") or str(uuid.uuid4())
        task = asyncio.create_task(self._run(prompt_id, body))
        task.add_done_callback(lambda done: done.exception())
        return web.json_response({"prompt_id": prompt_id})

    async def _run(self, prompt_id: str, body: dict[str, Any]) -> None:
        await asyncio.sleep(self.seconds)
        outputs: dict[str, Any] = {}
        for node_id, node in body["prompt"].items():
            if node["inputs"]["text"] == "die":
                await self._stop()
                return
            if node["inputs"]["text"] == "fail":
                about = {"node_id": node_id, "node_type": "Text", "exception_message": "the model is missing\n"}
                await self._end(prompt_id, body, {"status_str": "error", "messages": [["execution_error", about]]}, {})
                return
            name = f"out_{len(self.files):05}.txt"
            self.files[name] = json.dumps(node["inputs"], sort_keys=True).encode()
            outputs[node_id] = {"images": [{"filename": name, "subfolder": "", "type": "output"}]}
        self.ran.append(body["prompt"])
        await self._end(prompt_id, body, {"status_str": "success", "messages": []}, outputs)

    async def _end(self, prompt_id: str, body: dict[str, Any], status: dict[str, Any], outputs: dict[str, Any]) -> None:
        self.history[prompt_id] = {"status": status, "outputs": outputs}
        socket = self.sockets.get(body["client_id"])
        if socket is not None and not socket.closed:
            await socket.send_json({"type": "progress", "data": {"prompt_id": prompt_id, "value": 1, "max": 2}})
            await socket.send_json({"type": "executing", "data": {"prompt_id": prompt_id, "node": None}})

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        return web.json_response({prompt_id: self.history[prompt_id]} if prompt_id in self.history else {})

    async def _queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def _delete(self, request: web.Request) -> web.Response:
        self.deleted.append(str(await request.json()))
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.query["filename"]])
