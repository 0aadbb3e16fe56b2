"""Which dtype a network's weights get when nobody says."""

from __future__ import annotations

import torch

__all__ = ["choose_dtype"]


def choose_dtype(wanted: torch.dtype | None, stored: torch.dtype, device: str | torch.device) -> torch.dtype:
    """Return the dtype to load weights in, by one rule for every network and device.

    What the caller wants; else what the file has, where the device computes in it: float32 and float64 everywhere,
    float16 and (where the card has it) bfloat16 on a GPU; else float32.

    Args:
        wanted: By the caller, or None.
        stored: What the file has.
        device: That will compute.
    """
    if wanted is not None:
        return wanted
    on_gpu = torch.device(device).type != "cpu"
    if stored == torch.bfloat16 and torch.device(device).type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float32
    native = (torch.float32, torch.float64, *((torch.float16, torch.bfloat16) if on_gpu else ()))
    return stored if stored in native else torch.float32
