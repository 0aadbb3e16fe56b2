"""Writing a contract into a published file: a LoRA, or a checkpoint in its project's own layout."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from ...samplers.contract import CONTRACT_KEY, ContractError, SamplingContract
from ..checkpoint import CheckpointError, open_safetensors
from ..metadata import rewrite_metadata

__all__ = ["is_lora", "stamp_published"]

CORE_CONFIG_KEY = "config"
"""Header entry by which ComfyUI chooses a network that weights alone do not tell of."""

_LORA_PARTS = (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".lora.down.", ".lora.up.")


def is_lora(path: str | os.PathLike[str]) -> bool:
    """Whether a ``.safetensors`` file holds a LoRA, by the names of its tensors.

    Raises:
        CheckpointError: The file is missing, truncated or of another kind.
    """
    with open_safetensors(path) as file:
        names = list(file.keys())
    return any(part in f"{name}." for name in names for part in _LORA_PARTS)


def stamp_published(path: str | os.PathLike[str], contract: SamplingContract) -> Path:
    """Write a contract into the header of a published student's ``.safetensors`` file; its tensors are not touched.

    The checkpoint of a causal student also gets the entry by which ComfyUI's core chooses its autoregressive network:
    ``config = {"transformer": {"causal_ar": true}}``, beside what that entry holds already.

    Args:
        path: Of a LoRA or a checkpoint.
        contract: To write.

    Returns:
        The file that was written.

    Raises:
        ContractError: It is not a ``.safetensors`` file, is damaged, or has a ``config`` that is not JSON.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise ContractError(
            f"{path.name}: is not a .safetensors file, and a contract can only be stamped into these; convert it first."
        )
    try:
        entries = {CONTRACT_KEY: replace(contract, source="declared").to_json()}
        if contract.causal is not None and not is_lora(path):
            entries[CORE_CONFIG_KEY] = _format_causal_config(path)
        rewrite_metadata(path, entries)
    except CheckpointError as error:
        raise ContractError(str(error)) from None
    return path


def _format_causal_config(path: Path) -> str:
    with open_safetensors(path) as file:
        text = (file.metadata() or {}).get(CORE_CONFIG_KEY, "{}")
    try:
        config = json.loads(text)
        return json.dumps({**config, "transformer": {**config.get("transformer", {}), "causal_ar": True}})
    except (ValueError, TypeError, AttributeError):
        raise ContractError(
            f"{path.name}: its header's config is {text[:60]!r}, not an object of settings, so it cannot say that the "
            "network is causal; repair or remove that entry."
        ) from None
