"""How Wan and its students were trained, in numbers and formulas that need no torch.

The library samples by them and the checker of workflows, which starts without torch, reads them: they stand here once.
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = [
    "DDIM_CLAMP",
    "TEACHER_BOUNDARIES",
    "TIMESTEP_CASTS",
    "TRAIN_TIMESTEPS",
    "TRIGFLOW_ANGLES",
    "WAN_FIRST_SIGMA",
    "apply_shift",
    "is_high_noise",
]

TRAIN_TIMESTEPS = 1000
TIMESTEP_CASTS = ("int64_trunc", "float", "bf16", "table")
"""How ``1000 * sigma`` is fed: truncated to an integer, as float32, rounded to bfloat16, or from a table of its own."""

WAN_FIRST_SIGMA: float = struct.unpack("f", struct.pack("f", 0.999))[0]
"""Wan builds its training table in float32 and reads the first sigma back: 0.999 as float32 stores it."""

DDIM_CLAMP = 1e-3
"""The training loop keeps alpha^2 this far from 0 and from 1."""

TRIGFLOW_ANGLES = (1.5, 1.4, 1.0)
"""Of rCM's schedule, between the first angle and the last, 0."""

TEACHER_BOUNDARIES = {"t2v": 0.875, "i2v": 0.9}
"""Where Wan A14B changes experts, by task. Source: Wan2.2 at 42bf4cf, wan/configs/wan_t2v_A14B.py, wan_i2v_A14B.py."""


def apply_shift(sigma: Any, shift: float) -> Any:
    """Return ``shift * s / (1 + (shift - 1) * s)``; the only line that shifts, with nothing checked.

    Args:
        sigma: 0 to 1, of any type that has arithmetic; so is the result.
        shift: Above 0; 1 is none.
    """
    return shift * sigma / (1 + (shift - 1) * sigma)


def is_high_noise(timestep: float, boundary: float) -> bool:
    """Return whether the high-noise expert of an A14B pair takes ``timestep``.

    Args:
        timestep: 0 to 1000, as the network is fed it.
        boundary: Share of the training timesteps, 0 to 1.

    Source: Wan2.2 at 42bf4cf, text2video: ``t >= boundary * 1000``.
    """
    return timestep >= boundary * TRAIN_TIMESTEPS
