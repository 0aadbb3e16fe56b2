"""First values of weights and tables, written only where a tensor has memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["initialise"]


def initialise(tensor: Tensor, fill: Callable[[Tensor], object]) -> Tensor:
    """Fill a tensor in place and return it; on the meta device leave it alone.

    A loader builds every network there first, to check its sizes. Torch would load its compiler, for two seconds, to
    fill nothing.

    Args:
        tensor: Any tensor that autograd does not track yet.
        fill: Writes into the tensor that it is given.
    """
    if not tensor.is_meta:
        with torch.no_grad():
            fill(tensor)
    return tensor
