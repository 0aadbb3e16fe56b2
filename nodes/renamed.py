"""Nodes that were renamed and inputs that were removed: workflows saved with the old ones still run."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import ComfyAPI, io

from .host.progress import get_server

log = logging.getLogger(__name__)

RENAMED: tuple[dict[str, Any], ...] = ()
"""Arguments of the host's ``NodeReplace``, one entry for each old id; entries stay for good.

``new_node_id``, ``old_node_id``, ``old_widget_ids`` (the old node's widgets by position), ``input_mapping`` and
``output_mapping``.
"""

REMOVED_FILE = Path(__file__).resolve().parents[1] / "web" / "removed_inputs.json"
"""The inputs that a node no longer has, by node id: ``widgets`` as they were stored and the names ``removed``.

The page's own script reads it too, because graphs of the page store widgets by position.
"""


async def register_renamed(renamed: Sequence[dict[str, Any]] = RENAMED) -> int:
    """Tell the host which node stands for which; returns how many it was told (0 where the host cannot replace)."""
    replacement = getattr(ComfyAPI(), "node_replacement", None)
    if replacement is None or not hasattr(io, "NodeReplace"):
        return 0
    for entry in renamed:
        await replacement.register(io.NodeReplace(**entry))
    return len(renamed)


def register_removed() -> None:
    """Let graphs in API form that name a removed input run, with one line in the log for each node."""
    server = get_server()
    if server is not None and drop_removed not in getattr(server, "on_prompt_handlers", ()):
        server.add_on_prompt_handler(drop_removed)


def drop_removed(request: dict[str, Any]) -> dict[str, Any]:
    """Take removed inputs out of the graph of a request to run it, as the host passes it to its handlers."""
    removed = json.loads(REMOVED_FILE.read_text("utf-8"))
    graph = request.get("prompt")
    for node in graph.values() if isinstance(graph, dict) else ():
        kind, inputs = (node.get("class_type"), node.get("inputs")) if isinstance(node, dict) else (None, None)
        if kind in removed and isinstance(inputs, dict):
            gone = [f"{name} {inputs.pop(name)!r}" for name in removed[kind]["removed"] if name in inputs]
            if gone:
                log.info("Wan Lite: %s no longer has these inputs; passed over: %s.", kind, ", ".join(gone))
    return request
