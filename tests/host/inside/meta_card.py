"""A card that is not there: the host believes that the meta device is one, so models and latents go to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import comfy.model_management as management
import torch

CARD = torch.device("meta")
CPU = torch.device("cpu")
FREE = 2**36


@contextmanager
def pretend_card(**changes: Any) -> Iterator[torch.device]:
    """Let the host compute on the meta device and offload to the CPU.

    Args:
        **changes: More attributes of the host's memory management, for instance ``vram_state``.
    """

    def free_memory(device: Any = None, torch_free_too: bool = False) -> Any:
        return (FREE, FREE) if torch_free_too else FREE

    settings = {
        "get_torch_device": lambda: CARD,
        "vae_device": lambda: CARD,
        "unet_offload_device": lambda: CPU,
        "vae_offload_device": lambda: CPU,
        "get_free_memory": free_memory,
        "get_total_memory": lambda device=None, torch_total_too=False: (FREE, FREE) if torch_total_too else FREE,
        "vram_state": management.VRAMState.NORMAL_VRAM,
        "soft_empty_cache": lambda *args, **kwargs: None,
        "current_loaded_models": [],  # of their own: what went to the card cannot be fetched back
        **changes,
    }
    with ExitStack() as stack:
        for name, value in settings.items():
            stack.enter_context(mock.patch.object(management, name, value))
        yield CARD
