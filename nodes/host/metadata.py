"""What a node writes into the metadata of the images that the host saves."""

from __future__ import annotations

import json

from comfy_api.latest import io

from ...samplers.contract import CONTRACT_KEY, SamplingContract


def record_contract(hidden: io.HiddenHolder, contract: SamplingContract) -> None:
    """Put the contract that was used into what the host's savers write into an image.

    Queued from the page, it becomes a text of its own in the PNG; headless, where the host has no such table, it goes
    into the node's ``_meta`` in the ``prompt`` text. Both are written where both exist.
    """
    entry, node_id = json.loads(contract.to_json()), str(hidden.unique_id)
    if hidden.extra_pnginfo is not None:
        hidden.extra_pnginfo.setdefault(CONTRACT_KEY, {})[node_id] = entry
    node = (hidden.prompt or {}).get(node_id)
    if node is not None:
        node.setdefault("_meta", {})[CONTRACT_KEY] = entry
