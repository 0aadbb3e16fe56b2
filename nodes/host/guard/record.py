"""What the host's savers write into an image: the contract that it was sampled with, and what was changed of it.

A node writes its record when it is executed. One that makes a MODEL for others to sample is executed once and then
served from the host's cache, while each new seed is sampled in a run of its own: so the MODEL carries the record, and
its guard writes it again wherever the MODEL is sampled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ....samplers.contract import CHANGES_KEY, CONTRACT_KEY, SamplingContract
from ....samplers.mismatch import list_changes, mark_changes
from ..progress import find_running_prompt

RECORD_ATTACHMENT = "wan_lite.record"


@dataclass(frozen=True)
class ContractRecord:
    """A contract that was used, and by which node.

    Attributes:
        node_id: The node's.
        entries: By key, as JSON values: the contract, and the fields that differ from the checkpoint's own.
    """

    node_id: str
    entries: dict[str, Any]

    def write(self, prompt: dict[str, Any] | None, extra_pnginfo: dict[str, Any] | None) -> None:
        """Put the record into what a run's savers write.

        Queued from the page, it becomes a text of its own in the PNG; headless, where the host has no such table, it
        goes into the node's ``_meta`` in the ``prompt`` text. Both are written where both exist.
        """
        if extra_pnginfo is not None:
            for key, entry in self.entries.items():
                extra_pnginfo.setdefault(key, {})[self.node_id] = entry
        node = (prompt or {}).get(self.node_id)
        if node is not None:
            node.setdefault("_meta", {}).update(self.entries)


def record_contract(
    hidden: io.HiddenHolder, contract: SamplingContract, declared: SamplingContract | None
) -> ContractRecord:
    """Put the contract that was used into what this run's savers write into an image.

    Args:
        hidden: The node's.
        contract: What was sampled with.
        declared: The checkpoint's own, or None.
    """
    changes = list_changes(declared, contract)
    entries = {CONTRACT_KEY: json.loads(mark_changes(declared, contract).to_json())}
    if changes:
        entries[CHANGES_KEY] = json.loads(json.dumps(changes))
    record = ContractRecord(str(hidden.unique_id), entries)
    record.write(hidden.prompt, hidden.extra_pnginfo)
    return record


def repeat_record(model: Any) -> None:
    """Write the record that a MODEL carries into the graph that samples it, of which images keep a copy."""
    record, prompt = model.get_attachment(RECORD_ATTACHMENT), find_running_prompt()
    if record is not None and prompt is not None:
        record.write(prompt, None)
