"""Nodes that were renamed or replaced after a release: workflows saved with the old id go on working."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import ComfyAPI, io

RENAMED: tuple[dict[str, Any], ...] = ()
"""Arguments of the host's ``NodeReplace``, one table for each old id; entries stay for good.

``new_node_id``, ``old_node_id``, ``old_widget_ids`` (the old node's widgets by position), ``input_mapping`` and
``output_mapping``.
"""


async def register_renamed(renamed: Sequence[dict[str, Any]] = RENAMED) -> int:
    """Tell the host which node stands for which; returns how many it was told (0 where the host cannot replace)."""
    replacement = getattr(ComfyAPI(), "node_replacement", None)
    if replacement is None or not hasattr(io, "NodeReplace"):
        return 0
    for entry in renamed:
        await replacement.register(io.NodeReplace(**entry))
    return len(renamed)
