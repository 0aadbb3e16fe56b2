"""How large a video or image is at each layer of an encoder or decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor, nn

from .layers import Decoder, Downsample, DownStage, Encoder, Upsample, UpStage

__all__ = ["FeatureMapSize", "list_inner_layers", "list_outer_layers", "trace_sizes"]


@dataclass(frozen=True)
class FeatureMapSize:
    """How large a feature map is at some layer.

    Args:
        frames: Of the video; 1 for an image.
        height: Of one frame.
        width: Of one frame.
    """

    frames: int
    height: int
    width: int

    @property
    def frame_pixels(self) -> int:
        """Pixels of one frame."""
        return self.height * self.width

    @property
    def pixels(self) -> int:
        """Pixels of all frames."""
        return self.frames * self.frame_pixels

    @property
    def slices(self) -> int:
        """Temporal slices of a causal kernel that reach a frame."""
        return min(3, self.frames)

    @classmethod
    def of(cls, x: Tensor) -> FeatureMapSize:
        """Return the size of a feature map (t, c, h, w)."""
        return cls(x.shape[0], x.shape[2], x.shape[3])

    def after(self, layer: nn.Module) -> FeatureMapSize:
        """Return the size of a layer's output for an input of this size."""
        if isinstance(layer, (Downsample, DownStage)):
            size, frames = layer.scale
            return FeatureMapSize(1 + (self.frames - 1) // frames, self.height // size, self.width // size)
        if isinstance(layer, (Upsample, UpStage)):
            size, frames = layer.scale
            return FeatureMapSize(1 + (self.frames - 1) * frames, self.height * size, self.width * size)
        return self


def trace_sizes(layers: Iterable[nn.Module], size: FeatureMapSize) -> Iterator[tuple[nn.Module, FeatureMapSize]]:
    """Yield each of some consecutive layers with the size of its input.

    Args:
        layers: In the order in which they run.
        size: Of the first layer's input.
    """
    for layer in layers:
        yield layer, size
        size = size.after(layer)


def list_inner_layers(network: Encoder | Decoder) -> list[nn.Module]:
    """Return the layers at the latent's resolution, the middle block among them, in the order in which they run."""
    if isinstance(network, Decoder):
        return [*takewhile(_keeps_size, network.layers)]
    return [*takewhile(_keeps_size, reversed(network.layers))][::-1]


def list_outer_layers(network: Encoder | Decoder) -> list[nn.Module]:
    """Return the other layers, between the latent's resolution and the pixels, in the order in which they run."""
    inner = set(list_inner_layers(network))
    return [layer for layer in network.layers if layer not in inner]


def _keeps_size(layer: nn.Module) -> bool:
    """Whether a layer's output has the height, width and frames of its input."""
    return not isinstance(layer, (Downsample, DownStage, Upsample, UpStage)) or layer.scale == (1, 1)
