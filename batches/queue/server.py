"""One ComfyUI server, as a program talks to it: what it offers, one prompt after another, and their results."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from ...check.graph.node_table import NodeType, make_type
from ...printable import SentenceError
from .binding import Prompt

__all__ = ["OnProgress", "Output", "RefusedError", "Server", "ServerError", "ServerLostError"]

ANSWER = 30.0  # seconds that a server has to answer a question
SILENCE = 5.0  # seconds without a message, after which a prompt is asked for
LARGEST_MESSAGE = 64 << 20  # bytes

Socket: TypeAlias = "aiohttp.ClientWebSocketResponse[Any]"
OnProgress = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1."""


class ServerError(SentenceError):
    """An address where there is no ComfyUI that can run the workflow."""


class ServerLostError(Exception):
    """A server stopped answering; what it was doing has to be done again.

    Attributes:
        is_running: Whether it had taken the prompt before.
    """

    is_running = False


class RefusedError(SentenceError):
    """A prompt that a server refused or could not finish, in its own words."""


@dataclass(frozen=True)
class Output:
    """One file that a prompt made: the node that saved it, its name on the server, its bytes."""

    node: str
    name: str
    content: bytes = field(repr=False)


class Server:
    """A server at an address such as ``http://127.0.0.1:8188``.

    Args:
        url: Its address.
        http: What carries the requests.

    Raises:
        ServerError: The address is not one of http or https.
    """

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ServerError(f"--server is {url!r}; give an address such as http://127.0.0.1:8188.")
        self.url, self._http = url.rstrip("/"), http

    async def check(self, classes: Collection[str]) -> dict[str, NodeType]:
        """Check that this is a ComfyUI that has these node classes.

        Returns:
            Class -> what the server says of it.

        Raises:
            ServerError: It is not, or it lacks one.
            ServerLostError: Nothing answers.
        """
        try:
            stats = json.loads(await self._get("/system_stats"))
            if "comfyui_version" not in stats["system"]:
                raise KeyError("comfyui_version")
            known = {name: json.loads(await self._get(f"/object_info/{name}")).get(name) for name in sorted(classes)}
        except (ValueError, KeyError, TypeError, RefusedError):
            raise ServerError(f"{self.url}: is not a ComfyUI server; give the address that its page has.") from None
        missing = [name for name, entry in known.items() if entry is None]
        if missing:
            pack = "Wan Lite" if missing[0].startswith("WanLite") else "the node pack that has it"
            raise ServerError(f"{self.url}: has no node {missing[0]}; install {pack} there.")
        return {name: make_type(entry) for name, entry in known.items()}

    async def run(self, prompt: Prompt, on_progress: OnProgress) -> tuple[str, list[Output]]:
        """Run one prompt to its end.

        Returns:
            The prompt's id, and the files that it saved (those that it only showed, where it saved none).

        Raises:
            RefusedError: The server refused it, or it failed while it ran.
            ServerLostError: The server stopped answering, or started anew and forgot it.
        """
        client, prompt_id = uuid.uuid4().hex, str(uuid.uuid4())
        body = {"prompt": prompt, "client_id": client, "prompt_id": prompt_id}
        async with self._listen(client) as socket:
            answer = json.loads(await self._request("POST", "/prompt", json=body))
            prompt_id = str(answer.get("prompt_id", prompt_id))
            try:
                await self._follow(socket, prompt_id, on_progress)
                return prompt_id, await self._fetch(prompt_id)
            except ServerLostError as error:
                error.is_running = True
                raise
            except asyncio.CancelledError:
                await self._cancel(prompt_id)
                raise

    async def _cancel(self, prompt_id: str) -> None:
        """Take a prompt from the queue, or stop it where it runs."""
        with contextlib.suppress(ServerLostError, RefusedError):
            await self._request("POST", "/queue", json={"delete": [prompt_id]})
            await self._request("POST", "/interrupt", json={"prompt_id": prompt_id})

    @contextlib.asynccontextmanager
    async def _listen(self, client: str) -> AsyncIterator[Socket]:
        try:
            async with self._http.ws_connect(
                f"{self.url}/ws?clientId={client}", max_msg_size=LARGEST_MESSAGE, heartbeat=ANSWER
            ) as socket:
                yield socket
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise ServerLostError(str(error)) from error

    async def _follow(self, socket: Socket, prompt_id: str, on_progress: OnProgress) -> None:
        """Read messages until the prompt has ended; in a silence, ask."""
        while True:
            try:
                message = await socket.receive(timeout=SILENCE)
            except asyncio.TimeoutError:
                if await self._has_ended(prompt_id):
                    return
                continue
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                raise ServerLostError(f"{self.url} closed the connection")
            if message.type is aiohttp.WSMsgType.TEXT and _notice(json.loads(message.data), prompt_id, on_progress):
                return

    async def _has_ended(self, prompt_id: str) -> bool:
        if prompt_id in json.loads(await self._get(f"/history/{prompt_id}")):
            return True
        queue = json.loads(await self._get("/queue"))
        waiting = {entry[1] for key in ("queue_running", "queue_pending") for entry in queue.get(key, ())}
        if prompt_id not in waiting and prompt_id not in json.loads(await self._get(f"/history/{prompt_id}")):
            raise ServerLostError(f"{self.url} has forgotten the prompt")
        return False

    async def _fetch(self, prompt_id: str) -> list[Output]:
        for attempt in range(20):  # the history is written after the last message
            history = json.loads(await self._get(f"/history/{prompt_id}")).get(prompt_id)
            if history is not None:
                break
            await asyncio.sleep(0.05 * (attempt + 1))
        else:
            raise ServerLostError(f"{self.url} has forgotten the prompt")
        status = history.get("status") or {}
        if status.get("status_str") != "success":
            raise RefusedError(_explain(status))
        entries = list(_list_files(history.get("outputs") or {}))
        saved = [(node, entry) for node, entry in entries if entry.get("type") == "output"] or entries
        return [Output(node, entry["filename"], await self._view(entry)) for node, entry in saved]

    async def _view(self, entry: Mapping[str, str]) -> bytes:
        return await self._get("/view", params={key: entry.get(key, "") for key in ("filename", "subfolder", "type")})

    async def _get(self, path: str, params: Mapping[str, str] | None = None) -> bytes:
        return await self._request("GET", path, params=params)

    async def _request(self, method: str, path: str, **about: Any) -> bytes:
        try:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER, sock_read=ANSWER)
            async with self._http.request(method, self.url + path, timeout=timeout, **about) as answer:
                content = await answer.read()
                if answer.status >= 500:
                    lost = ServerLostError(f"{self.url} answered with {answer.status}")
                    lost.is_running = answer.status == 500  # it took the request, and failed at it
                    raise lost
                if answer.status >= 400:
                    raise RefusedError(_explain_refusal(answer.status, content))
                return content
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise ServerLostError(str(error)) from error


def _notice(event: Mapping[str, Any], prompt_id: str, on_progress: OnProgress) -> bool:
    """Report progress; return whether the prompt has ended."""
    data = event.get("data") or {}
    if data.get("prompt_id") != prompt_id:
        return False
    kind = event.get("type")
    if kind == "progress" and data.get("max"):
        on_progress(min(1.0, data["value"] / data["max"]))
    ended = kind in ("execution_success", "execution_error", "execution_interrupted")
    return ended or (kind == "executing" and data.get("node") is None)


def _list_files(outputs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, str]]]:
    """Return (node, entry) of every file that the nodes made, in the order of node ids."""
    found = []
    for node in sorted(outputs, key=lambda key: [int(part) if part.isdigit() else 0 for part in key.split(":")]):
        for entries in outputs[node].values():
            if isinstance(entries, list):
                found += [(node, entry) for entry in entries if isinstance(entry, Mapping) and "filename" in entry]
    return found


def _explain(status: Mapping[str, Any]) -> str:
    """Return why a prompt failed, from the messages of its history."""
    for kind, data in reversed(status.get("messages") or []):
        if kind == "execution_error":
            return f"node {data.get('node_id')} ({data.get('node_type')}): {data.get('exception_message', '').strip()}"
        if kind == "execution_interrupted":
            return "it was interrupted on the server."
    return f"it ended as {status.get('status_str')!r} without a reason."


def _explain_refusal(status: int, content: bytes) -> str:
    try:
        answer = json.loads(content)
        reasons = [
            f"node {node} ({entry.get('class_type')}): {error['message']}: {error['details']}"
            for node, entry in (answer.get("node_errors") or {}).items()
            for error in entry["errors"]
        ]
        return "; ".join(reasons[:3]) or f"{answer['error']['message']} {answer['error'].get('details', '')}".strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the server answered with {status}."
