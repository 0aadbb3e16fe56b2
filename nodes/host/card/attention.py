"""The attention that the user chose for the host, for the student's own."""

from __future__ import annotations

from typing import Any

import comfy.ldm.modules.attention as host
from torch import Tensor

from ....models.student.network import Attend

__all__ = ["choose_attention"]

_CHOSEN = ("attention_sage", "attention_flash")
"""The host's functions that it takes only where it is told to: ``--use-sage-attention``, ``--use-flash-attention``."""


def choose_attention(options: dict[str, Any] | None) -> Attend | None:
    """Return the attention that a patch (``optimized_attention_override``) or the command line asks for, or None.

    Args:
        options: The host's ``transformer_options``.
    """
    chosen = [getattr(host, name, None) for name in _CHOSEN]
    if "optimized_attention_override" not in (options or {}) and host.optimized_attention not in chosen:
        return None

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        shapes = {"skip_reshape": True, "skip_output_reshape": True}
        mixed: Tensor = host.optimized_attention(
            query, key, value, query.shape[1], **shapes, transformer_options=options or {}
        )
        return mixed

    return attend
