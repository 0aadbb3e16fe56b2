"""The sizes that every network of a world has."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NetworkSizes"]


@dataclass(frozen=True)
class NetworkSizes:
    """What the networks have in common: square frames, cut into square patches, for a transformer of blocks.

    Args:
        frame_size: Side in pixels.
        patch_size: Side in pixels; it divides frame_size.
        embed_dim: Width of a patch's embedding.
        num_heads: Of the attention; they divide embed_dim.
        hidden_dim: Nominal width of the feed-forward layers.
        num_blocks: Of the transformer.
    """

    frame_size: int
    patch_size: int
    embed_dim: int
    num_heads: int
    hidden_dim: int
    num_blocks: int

    @property
    def side(self) -> int:
        """Patches along one side of the frame."""
        return self.frame_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches in one frame, as many as it has tokens."""
        return self.side**2
