"""Networks of plain layers in the host's memory management: on the device as a whole, or not at all."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher

__all__ = ["WholePatcher"]


class WholePatcher(comfy.model_patcher.ModelPatcher):
    """A patcher of a network that cannot compute with weights that lie elsewhere.

    The host keeps weights back (``--novram`` keeps all of them, full load or not) only where a layer fetches its own
    at each call, as the host's layers do. With plain layers it would leave the network on the CPU without a word.
    """

    def load(
        self,
        device_to: Any = None,
        lowvram_model_memory: float = 0,
        force_patch_weights: bool = False,
        full_load: bool = False,
    ) -> Any:
        """Load all weights, however few bytes the host would spend."""
        del full_load
        return super().load(device_to, lowvram_model_memory, force_patch_weights, full_load=True)
