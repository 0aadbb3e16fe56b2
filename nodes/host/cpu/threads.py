"""How many threads a run on the processor computes in: as many as its work is worth.

A network of a few million operations a layer is done before a second thread has woken up, and each layer ends with a
barrier at which the threads wait for one another, spinning. In a server other threads and programs take one of the
processors away, and then every barrier costs a slice of the scheduler's time. See docs/notes/0015-threads.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import torch
from torch import nn

SMALL = 1e10
"""Operations (multiplications and additions) of one call of a network below which one thread does it."""

_FULL_WIDTH = 96
_DECODER_PER_PIXEL, _ENCODER_PER_PIXEL = 4.1e6, 2.4e6
"""Of Wan's VAE at its full width; they grow with the square of the width."""
_VIDEO_FACTOR = 3


@contextmanager
def fit_threads(operations: float) -> Iterator[None]:
    """Compute a block in one thread where its work is small; the number from before comes back, also after an error.

    Args:
        operations: Of one call of the network, as the functions below estimate them.
    """
    before = torch.get_num_threads()
    if before == 1 or operations >= SMALL or comfy.model_management.get_torch_device().type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_network(network: nn.Module, positions: int) -> float:
    """Return the operations of a network that applies every weight at each of its positions."""
    return 2.0 * positions * sum(parameter.numel() for parameter in network.parameters())


def count_decoder(width: int, frames: int, pixels: int) -> float:
    """Return the operations of Wan's decoder of a width for frames of this many pixels."""
    return _scale(_DECODER_PER_PIXEL, width, frames, pixels)


def count_encoder(width: int, frames: int, pixels: int) -> float:
    """Return the operations of Wan's encoder of a width for frames of this many pixels."""
    return _scale(_ENCODER_PER_PIXEL, width, frames, pixels)


def _scale(per_pixel: float, width: int, frames: int, pixels: int) -> float:
    whole = per_pixel * (width / _FULL_WIDTH) ** 2 * pixels
    return whole if frames == 1 else whole * frames * _VIDEO_FACTOR
