"""In which chunks an image or video may be encoded and decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AUTO", "MODES", "OnProgress", "Tiling"]

OnProgress = Callable[[int, int], None]
"""Called after each chunk with the rows done and all rows; what it raises ends the work (interrupt)."""

MODES = ("auto", "off", "budget")


@dataclass(frozen=True)
class Tiling:
    """How an image or video is cut into chunks of rows. The result is the same whatever is chosen here.

    Args:
        mode: ``auto``: chunks that fit into the device's free memory; ``off``: everything at once; ``budget``: chunks
            that keep the memory above the weights within ``budget_mb``.
        budget_mb: Megabytes, for the mode ``budget`` only. The latent's middle block and the image itself are always
            held whole; a budget below that gives the smallest chunks and a warning.

    Raises:
        ValueError: Unknown mode; a budget that is missing, not positive, or given with another mode.
    """

    mode: str = "auto"
    budget_mb: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"tiling mode is {self.mode!r}; it must be one of {', '.join(MODES)}.")
        if (self.mode == "budget") != (self.budget_mb is not None):
            raise ValueError(f"budget_mb is {self.budget_mb} with mode {self.mode!r}; give it with mode 'budget' only.")
        if self.budget_mb is not None and not self.budget_mb > 0:
            raise ValueError(f"budget_mb is {self.budget_mb}; it must be above 0 (megabytes).")


AUTO = Tiling()
"""Chunks that fit into the device's free memory."""
