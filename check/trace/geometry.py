"""The geometry of the latents that ComfyUI's own nodes make: channels, pixels and frames for one latent.

Source: ComfyUI 0.33.0, nodes.py and comfy_extras/nodes_*.py; what a sampler repairs of an empty latent, comfy/sample.py
(fix_empty_latent_channels).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GEOMETRIES", "OF_VAE", "Geometry"]


@dataclass(frozen=True)
class Geometry:
    """The geometry of a latent.

    Attributes:
        channels: Of the latent.
        cell: Pixels of a side for one latent.
        frames: Frames of a video for one latent frame; 1 for images.
        is_told: Whether the node says its ``cell`` to the sampler, which then gives an empty latent its model's sides.
            The channels of an empty latent are repaired always, its number of frames never.
    """

    channels: int
    cell: int
    frames: int = 1
    is_told: bool = False


WAN = Geometry(16, 8, 4)
OF_VAE = {"wan2.1": WAN, "qwen-image": WAN, "wan2.2": Geometry(48, 16, 4)}
"""What the models of a VAE take."""

GEOMETRIES = {
    "EmptyLatentImage": Geometry(4, 8, is_told=True),
    "EmptySD3LatentImage": Geometry(16, 8, is_told=True),
    "EmptyHunyuanLatentVideo": Geometry(16, 8, 4, is_told=True),
    "EmptyHunyuanVideo15Latent": Geometry(32, 16, 4, is_told=True),
    "EmptyLTXVLatentVideo": Geometry(128, 32, 8, is_told=True),
    "EmptyHunyuanImageLatent": Geometry(64, 32),
    "EmptyFlux2LatentImage": Geometry(128, 16),
    "EmptyChromaRadianceLatentImage": Geometry(3, 1),
    "EmptyMochiLatentVideo": Geometry(12, 8, 6),
    "EmptyCosmosLatentVideo": Geometry(16, 8, 8),
    "EmptyARVideoLatent": WAN,
    "Wan22ImageToVideoLatent": Geometry(48, 16, 4),
    **dict.fromkeys(
        ("WanImageToVideo", "WanFunControlToVideo", "WanCameraImageToVideo", "WanVaceToVideo", "WanTrackToVideo"), WAN
    ),
}
"""Nodes that make an empty latent of ``width``, ``height`` and, in videos, ``length``, whatever VAE they are given."""
