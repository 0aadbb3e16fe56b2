"""How large a picture or clip is at every layer, and which layers therefore take forms with fewer multiplications."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ..cpu.upsample_conv import doubling_pays
from ..cpu.winograd import form_for, scratch_bytes
from ..layers import CausalConv, Decoder, DownLevel, Downsample, Encoder, UpLevel, Upsample, scaling

__all__ = ["Extent", "extents", "extra_bytes"]


@dataclass(frozen=True)
class Extent:
    """How large a whole picture or clip is at some layer: frames, and pixels of a frame."""

    frames: int
    frame: int

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.frames * self.frame

    @property
    def slices(self) -> int:
        """Temporal slices of a causal kernel that see something."""
        return min(3, self.frames)

    @classmethod
    def of(cls, x: Tensor) -> Extent:
        """That of a tensor (t, c, h, w)."""
        return cls(x.shape[0], x.shape[2] * x.shape[3])

    def after(self, layer: nn.Module) -> Extent:
        """That of the layer's output."""
        if isinstance(layer, (Downsample, DownLevel)):
            size, frames = scaling(layer)
            return Extent(1 + (self.frames - 1) // frames, self.frame // size**2)
        if isinstance(layer, (Upsample, UpLevel)):
            size, frames = scaling(layer)
            return Extent(1 + (self.frames - 1) * frames, self.frame * size**2)
        return self


def extents(layers: Iterable[nn.Module], extent: Extent) -> Iterator[tuple[nn.Module, Extent]]:
    """Each of some layers in a row with the extent of its input."""
    for layer in layers:
        yield layer, extent
        extent = extent.after(layer)


def extra_bytes(network: Encoder | Decoder, extent: Extent) -> int:
    """Memory that the forms with fewer multiplications take at most, for an input of this extent."""
    total, widest = 0, 0
    for layer, inside in extents(_in_order(network), extent):
        for module in layer.modules():
            bytes_, channels = _extra_of(module, inside)
            total, widest = total + bytes_, max(widest, channels)
    return total + scratch_bytes(widest)


def _extra_of(module: nn.Module, extent: Extent) -> tuple[int, int]:
    """The transformed kernel's bytes and the most channels, where a module is a convolution that has such a form."""
    if isinstance(module, Upsample) and doubling_pays(module.conv.weight, extent.pixels):
        return module.conv.weight.nbytes * 25 // 9, max(module.conv.weight.shape[:2])
    if isinstance(module, CausalConv):
        form = form_for(module.weight, extent.pixels, extent.slices)
        if form is not None:
            return extent.slices * module.weight.nbytes * form.values // 9, max(module.weight.shape[:2])
    return 0, 0


def _in_order(network: Encoder | Decoder) -> list[nn.Module]:
    if isinstance(network, Encoder):
        return [network.conv1, *network.downsamples, *network.middle, network.head]
    return [network.conv1, *network.middle, *network.upsamples, network.head]
