"""What a program that posts graphs to ComfyUI does: queue, follow, fetch."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import websocket
from PIL import Image

from host.comfyui import NEWER_NODES, skip_on_older
from host.server import Server

Event = dict[str, Any] | bytes
PATIENCE = 300.0
"""Seconds for an answer of the server: on a busy machine it may wait for a core as long as this."""


@dataclass(frozen=True)
class Result:
    """How one queued graph ended, and what its nodes gave.

    ``status`` is ``success``, ``error``, ``interrupted``, ``queued`` (not waited for) or ``invalid`` (refused before it
    ran).
    """

    client: Client
    prompt_id: str | None
    status: str
    outputs: dict[str, Any] = field(default_factory=dict)
    node_errors: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    error_node: str | None = None
    error_type: str | None = None
    seconds: float = 0.0

    @property
    def said(self) -> str:
        """The message of the error, empty where there was none."""
        return self.error or ""

    def images(self, node_id: str | int) -> list[np.ndarray]:
        """Pictures that a node showed or saved, each uint8 (H, W, c)."""
        return [np.asarray(Image.open(io.BytesIO(data))) for data in self.image_bytes(node_id)]

    def image_bytes(self, node_id: str | int) -> list[bytes]:
        """The same pictures as the files that they are."""
        return [self.client.view(entry) for entry in self.outputs.get(str(node_id), {}).get("images", [])]

    def text(self, node_id: str | int) -> list[str]:
        """Texts that a node showed."""
        return list(self.outputs.get(str(node_id), {}).get("text", []))

    def validation_errors(self) -> list[tuple[str, str, str, str]]:
        """(node id, error type, input name, details) of each complaint made before the graph ran."""
        return [
            (node_id, e["type"], e.get("extra_info", {}).get("input_name", ""), f"{e['message']}: {e['details']}")
            for node_id, entry in self.node_errors.items()
            for e in entry["errors"]
        ]


class Client:
    """The server of this test session, as the fixture ``comfy``."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.base: Path = server.base
        self.url = server.url

    def skip_where_absent(self, classes: Iterable[str]) -> None:
        """Skip a test of a workflow that needs a node which came to ComfyUI after this version."""
        if absent := sorted((set(classes) & NEWER_NODES) - self.object_info().keys()):
            skip_on_older(self.server.comfyui, f"does not have {', '.join(absent)} yet")

    def object_info(self) -> dict[str, Any]:
        """Every node's description, by id."""
        return self.get_json("/object_info")

    def queue(
        self,
        graph: Mapping[str, Any],
        extra_data: Mapping[str, Any] | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        timeout: float = 300,
    ) -> Result:
        """Post an API graph, wait for its end and return it.

        Args:
            extra_data: as the page sends it, for instance ``{"extra_pnginfo": {"workflow": ...}}``.
            on_event: called with each websocket message of the run (a dict, or bytes of a preview).
        """
        client_id = uuid.uuid4().hex
        body = {"prompt": graph, "client_id": client_id, "extra_data": dict(extra_data or {})}
        started = time.monotonic()
        if on_event is None:
            posted = self._post_graph(body)
            if isinstance(posted, Result):
                return posted
            self._wait(posted["prompt_id"], timeout)
        else:
            address = f"ws{self.url.removeprefix('http')}/ws?clientId={client_id}"
            with closing(websocket.create_connection(address, timeout=timeout)) as socket:
                posted = self._post_graph(body)
                if isinstance(posted, Result):
                    return posted
                self._follow(socket, posted["prompt_id"], on_event)
            self._wait(posted["prompt_id"], timeout)
        return self._result(posted["prompt_id"], posted["node_errors"], time.monotonic() - started)

    def validate(self, graph: Mapping[str, Any]) -> Result:
        """Post an API graph and take it back from the queue: whether it is accepted, and what is wrong with it."""
        posted = self._post_graph({"prompt": graph, "client_id": uuid.uuid4().hex})
        if isinstance(posted, Result):
            return posted
        self.post_json("/queue", {"delete": [posted["prompt_id"]]})
        self.interrupt(posted["prompt_id"])
        return Result(self, posted["prompt_id"], "queued", node_errors=posted["node_errors"])

    def interrupt(self, prompt_id: str | None = None) -> None:
        """Stop the running graph (or only the named one)."""
        self.post_json("/interrupt", {"prompt_id": prompt_id} if prompt_id else {})

    def view(self, entry: Mapping[str, str]) -> bytes:
        """One file that a node reported (``filename``, ``subfolder``, ``type``)."""
        return self.get("/view?" + urllib.parse.urlencode(dict(entry)))

    def get(self, path: str) -> bytes:
        """Body of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def get_json(self, path: str) -> Any:
        """Body of a GET, parsed."""
        return json.loads(self.get(path))

    def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """Body of the answer to a POST of JSON, parsed (None when it is empty)."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def ask(self, path: str, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> tuple[int, Any]:
        """Status and parsed body of the answer to a POST that may be refused ({} for a body that is empty)."""
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"} | dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text else {}

    def _post_graph(self, body: Mapping[str, Any]) -> dict[str, Any] | Result:
        try:
            answer: dict[str, Any] = self.post_json("/prompt", body)
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            refusal = json.loads(error.read())
            said = refusal["error"]
            message = ": ".join(part for part in (said.get("message"), said.get("details")) if part)
            return Result(
                self, None, "invalid", {}, refusal.get("node_errors") or {}, message, error_type=said.get("type")
            )
        return answer

    def _follow(self, socket: websocket.WebSocket, prompt_id: str, on_event: Callable[[Event], None]) -> None:
        last = {"execution_success", "execution_error", "execution_interrupted"}
        while True:
            message = socket.recv()
            event: Event = json.loads(message) if isinstance(message, str) else bytes(message)
            on_event(event)
            if isinstance(event, dict) and event["type"] in last and event["data"]["prompt_id"] == prompt_id:
                return

    def _wait(self, prompt_id: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while prompt_id not in self.get_json(f"/history/{prompt_id}"):
            self.server.check_alive()
            if time.monotonic() > deadline:
                self.interrupt(prompt_id)
                raise TimeoutError(f"a graph ran longer than {timeout:.0f} s\n{self.server.log_tail()}")
            time.sleep(0.05)

    def _result(self, prompt_id: str, node_errors: dict[str, Any], seconds: float) -> Result:
        entry = self.get_json(f"/history/{prompt_id}")[prompt_id]
        messages = {name: data for name, data in entry["status"]["messages"]}
        common = {"outputs": entry["outputs"], "node_errors": node_errors, "seconds": seconds}
        if "execution_interrupted" in messages:
            return Result(self, prompt_id, "interrupted", **common)
        if "execution_error" in messages:
            data = messages["execution_error"]
            said = str(data["exception_message"]).strip()
            return Result(
                self,
                prompt_id,
                "error",
                **common,
                error=said,
                error_node=str(data["node_id"]),
                error_type=data["exception_type"],
            )
        return Result(self, prompt_id, entry["status"]["status_str"], **common)
