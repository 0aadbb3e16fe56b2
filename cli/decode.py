"""``wan-lite decode``: latents of a video, as ComfyUI's Save Latent writes them, to a video file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import PRECISIONS, torch_dtype
from .terminal import say

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add_decode"]


def add_decode(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``decode``."""
    parser.add_argument("latents", type=Path, help="a .latent or .safetensors file with the tensor latent_tensor")
    parser.add_argument("--vae", type=Path, required=True, help="the Wan VAE: a file, or diffusers' folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the video: .mp4, .mkv, .mov or .webm")
    parser.add_argument("--fps", type=float, default=16.0, help="frames per second (default: 16)")
    parser.add_argument("--normalised", action="store_true", help="the latents are (mu - mean) / std, not ComfyUI's")
    parser.add_argument("--budget", type=float, metavar="MB", help="working memory above the weights")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default: what suits the machine")
    parser.set_defaults(run=decode)


def decode(options: argparse.Namespace) -> None:
    """Decode a few frames at a time and write each at once: the memory does not grow with the video's length."""
    from ..models.wan_vae import Tiling, load_wan_vae
    from ..models.wan_vae.latents import read_latents
    from ..pipeline.videos.writing import check_video_name, stream_video

    check_video_name(options.output, options.fps)
    latents = read_latents(options.latents)
    precision = torch_dtype(options.precision) if options.precision else None
    vae = load_wan_vae(options.vae, precision)
    tiling = Tiling("budget", options.budget) if options.budget is not None else None
    found = vae.decode_frames(latents.to(vae.latents_mean.device), tiling=tiling, raw=not options.normalised)
    frames = stream_video(_arrange(found), options.output, options.fps)
    say(f"{options.output}: {frames} frames")


def _arrange(parts: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield frames (t, H, W, 3) in [0, 1] of pixels (1, 3, t, H, W) in [-1, 1]."""
    for part in parts:
        yield part[0].permute(1, 2, 3, 0).add(1).div(2).clamp(0, 1).cpu()
