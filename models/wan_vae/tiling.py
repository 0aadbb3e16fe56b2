"""How many rows of a picture go through a VAE at a time, and what happens when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from .config import WanVAEConfig

__all__ = ["MODES", "OnPiece", "Tiling", "with_smaller_pieces"]

OnPiece = Callable[[int, int], None]
"""Called after each piece with the rows done and all rows; what it raises ends the work (interrupt)."""

MODES = ("auto", "off", "budget")
_CPU_PIXELS = 8192  # of a piece at any level: activations stay in the CPU's cache; measured, flat from 4096 to 32768
_LEAST_PIXELS = 64
_BUFFERS = 14  # tensors of a level's width and a piece's pixels that are alive at the worst moment, measured
_MIDDLE = 6  # the same around the middle attention, over the whole latent
_FIXED = 24 * 2**20  # what the allocator and the convolutions' own buffers take on a CPU, measured
_log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Tiling:
    """In which pieces a picture is encoded or decoded. The pictures are the same whatever is chosen here.

    Args:
        mode: ``auto``: pieces that fit what the device has free; ``off``: the whole picture at once; ``budget``:
            pieces that keep the memory above the weights within ``budget_mb``.
        budget_mb: megabytes, for the mode ``budget`` only. The latent's middle block and the picture itself are
            always held whole; a budget below that gives the smallest pieces and a warning.

    Raises:
        ValueError: unknown mode; a budget that is missing, not positive, or given with another mode.
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

    def allows(self, extra: int) -> bool:
        """Whether there is room for this many bytes that only buy speed."""
        return self.budget_mb is None or 2 * extra <= self.budget_mb * 2**20

    def pixels(
        self, config: WanVAEConfig, size: tuple[int, int], dtype: torch.dtype, device: torch.device, extra: int = 0
    ) -> int:
        """Pixels of a piece (at each level, whatever its resolution) for a picture of this height and width.

        Args:
            extra: bytes that are needed besides.
        """
        height, width = size
        if self.mode == "off":
            return height * width
        most = _CPU_PIXELS if device.type == "cpu" else height * width
        free = self._free_bytes(device)
        if free is None:
            return most
        widest = max(*config.encoder_dims, *config.decoder_dims) * dtype.itemsize
        latent = height * width // config.spatial_factor**2
        left = free - _FIXED - extra - _MIDDLE * latent * widest - 3 * 4 * 2 * height * width
        if left < 0:
            _log.warning(
                "the VAE has %.0f MB for a picture of %dx%d, whose middle block alone needs more; "
                "using the smallest pieces", free / 2**20, width, height,
            )  # fmt: skip
        return min(most, max(_LEAST_PIXELS, int(left / (_BUFFERS * widest))))

    def _free_bytes(self, device: torch.device) -> float | None:
        if self.budget_mb is not None:
            return self.budget_mb * 2**20
        if device.type == "cuda":
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            return 0.8 * (torch.cuda.mem_get_info(device)[0] + unused)
        return None


def with_smaller_pieces(work: Callable[[int], Result], pixels: int) -> Result:
    """Do ``work(pixels)``; when memory runs out, again in pieces half as large, down to the smallest.

    Raises:
        MemoryError: even the smallest pieces do not fit.
    """
    while True:
        try:
            return work(pixels)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if pixels <= _LEAST_PIXELS:
                raise MemoryError("not enough memory even in the smallest pieces; use a smaller picture.") from error
        pixels = max(_LEAST_PIXELS, pixels // 2)
        _log.warning("out of memory; the VAE goes on in pieces of %d pixels", pixels)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in text or "not enough memory" in text
