"""Which convolution algorithm a layer runs with on a CPU, and how much memory these algorithms take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn

from ..feature_map import FeatureMapSize, list_inner_layers, trace_sizes
from ..layers import CausalConv, Decoder, Encoder, Upsample
from .upsample_conv import POLYPHASE, UPSAMPLE_25
from .winograd import F2_ROWS, F2X2, F4X4, estimate_buffers
from .workspace import Workspace

__all__ = ["ConvAlgorithm", "estimate_workspace", "select_algorithm"]

_LEAST_CHANNELS = 96  # from which fewer multiplications win back what transforms cost
_MANY_CHANNELS = 192 * 384  # input times output channels from which transforms along both sides do, in bfloat16
_FILTER_SHARE = 4  # how many times as large as the layer's input its transformed filters may be


class ConvAlgorithm(Protocol):
    """A way to run a 3x3 convolution in blocks, with filters that are transformed beforehand."""

    @property
    def block(self) -> int:
        """Input pixels of a block along each side, without its border."""
        ...

    @property
    def scale(self) -> int:
        """Outputs for one input pixel along each side: 2 where nearest upsampling is part of it, else 1."""
        ...

    @property
    def filter_values(self) -> int:
        """Values of a transformed filter for each pair of channels, where the kernel has nine."""
        ...

    def transform_filters(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return what :meth:`convolve` takes for kernels (o, i, 3, 3), in the same precision, rounded once."""
        ...

    def convolve(
        self, window: Tensor, filters: list[Tensor], bias: Tensor, workspace: Workspace, earlier: int = 0
    ) -> Tensor:
        """Convolve a window that already has one pixel of border (zeros, or neighbours) on all sides.

        Args:
            window: (t, c, m a + 2, m b + 2), channels_last, with m the block.
            filters: That of the frame itself, then (for a causal convolution) those of the frame before and the frame
                before that, all transformed.
            bias: (o,).
            workspace: For intermediate values.
            earlier: How many frames at the front of the window are only looked back at.

        Returns:
            (t - earlier, o, m a, m b), channels_last, each side times ``scale``.
        """
        ...


def select_algorithm(layer: CausalConv | Upsample, size: FeatureMapSize) -> ConvAlgorithm | None:
    """Return the algorithm that is worthwhile for a layer, or None for torch's direct convolution.

    Args:
        layer: A causal convolution, or an upsampling with its convolution.
        size: Of the layer's input, whole. On a small one the transformed filters would take more memory than the
            activations, and the time to make them would not be won back.
    """
    if isinstance(layer, CausalConv):
        return _select_winograd(layer.weight, size.pixels, size.slices)
    return _select_fused(layer.conv.weight, size.pixels) or _select_winograd(
        layer.conv.weight, size.after(layer).pixels, 1
    )


def _select_winograd(weight: Tensor, pixels: int, slices: int) -> ConvAlgorithm | None:
    """Return the Winograd algorithm for ``slices`` kernels (o, i, 3, 3), one for each frame that is looked at."""
    if not _is_wide(weight):
        return None
    algorithm: ConvAlgorithm
    if weight.dtype == torch.float32:
        algorithm = F4X4
    elif weight.dtype == torch.bfloat16 and _multiplies_bfloat16():
        algorithm = F2X2 if weight.shape[0] * weight.shape[1] >= _MANY_CHANNELS else F2_ROWS
    else:
        return None
    return algorithm if _fits_filters(slices * algorithm.filter_values * weight.shape[0], pixels) else None


def _select_fused(weight: Tensor, pixels: int) -> ConvAlgorithm | None:
    """Return the fused upsample-convolution for a kernel (o, i, 3, 3) and this many pixels before upsampling."""
    if not _is_wide(weight):
        return None
    if weight.dtype == torch.float32:
        return UPSAMPLE_25 if _fits_filters(UPSAMPLE_25.filter_values * weight.shape[0], pixels) else None
    return POLYPHASE if weight.dtype == torch.bfloat16 else None


@cache
def _multiplies_bfloat16() -> bool:
    """Whether this CPU is known to multiply bfloat16 in its vector unit; AMX does direct convolutions faster."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # an older torch does not tell
    has = {} if ask is None else ask()
    return bool(has.get("avx512_bf16")) and not has.get("amx_bf16")


def _is_wide(weight: Tensor) -> bool:
    """Whether a kernel (o, i, 3, 3) is on a CPU and has enough channels to win back what transforms cost."""
    return weight.device.type == "cpu" and min(weight.shape[:2]) >= _LEAST_CHANNELS


def _fits_filters(values: int, pixels: int) -> bool:
    """Whether transformed filters of this many values for each input channel suit a feature map of these pixels."""
    return values <= _FILTER_SHARE * pixels


def estimate_workspace(network: Encoder | Decoder, size: FeatureMapSize) -> int:
    """Return how many bytes transformed filters and buffers take at most.

    Args:
        network: The encoder or decoder.
        size: Of its input.
    """
    outer = inner = widest = 0
    inner_layers = set(list_inner_layers(network))
    for layer, inside in trace_sizes(network.layers, size):
        found = [_measure_filters(module, inside) for module in layer.modules()]
        filters, widest = sum(part for part, _ in found), max(widest, *(channels for _, channels in found))
        if layer in inner_layers:
            inner = max(inner, filters)  # one layer after the other
        else:
            outer += filters
    return max(inner, outer) + estimate_buffers(widest)


def _measure_filters(module: nn.Module, size: FeatureMapSize) -> tuple[int, int]:
    """Return the bytes of a module's transformed filters and its most channels; zeros where it has none."""
    if not isinstance(module, (CausalConv, Upsample)):
        return 0, 0
    algorithm = select_algorithm(module, size)
    if algorithm is None:
        return 0, 0
    weight, slices = (module.weight, size.slices) if isinstance(module, CausalConv) else (module.conv.weight, 1)
    return slices * weight.nbytes * algorithm.filter_values // 9, max(weight.shape[:2])
