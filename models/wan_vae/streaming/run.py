"""Pictures and clips through the row-wise networks, one at a time, with the memory and the progress looked after."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from ..layers import patchify, unpatchify
from ..tiling import OnPiece, Tiling, with_smaller_pieces
from .feature_map import Extent, extra_bytes
from .rows import decode_rows, encode_rows

if TYPE_CHECKING:
    from ..vae import WanVAE

__all__ = ["decode_pieces", "encode_pieces"]


@torch.no_grad()
def encode_pieces(vae: WanVAE, pixels: Tensor, tiling: Tiling, on_piece: OnPiece | None) -> Tensor:
    """(b, 3, t, H, W) -> mean and log-variance before the last 1x1 convolution, (b, 2 z, t', h, w)."""
    size, height = vae.config.patch_size, pixels.shape[3]
    extra = extra_bytes(vae.encoder, Extent(pixels.shape[2], height * pixels.shape[4] // size**2))
    fast = tiling.allows(extra)

    def encode_one(i: int, item: Tensor) -> Tensor:
        x = patchify(rearrange(item, "1 c t h w -> t c h w").to(vae.conv1.weight), size)
        x = x.contiguous(memory_format=torch.channels_last)

        def on_rows(done: int) -> None:
            if on_piece is not None:
                on_piece(i * height + done * size, len(pixels) * height)

        piece = tiling.pixels(vae.config, (height, pixels.shape[4]), x.dtype, x.device, fast * extra)
        return with_smaller_pieces(lambda n: encode_rows(vae.encoder, x, n, on_rows, fast), piece)

    return torch.stack([encode_one(i, item).transpose(0, 1) for i, item in enumerate(pixels.split(1))])


@torch.no_grad()
def decode_pieces(vae: WanVAE, z: Tensor, tiling: Tiling, on_piece: OnPiece | None) -> Tensor:
    """Latents after the first 1x1 convolution (b, z, t, h, w) -> (b, 3, t', H, W), float32, not clamped."""
    config = vae.config
    frames = 1 + (z.shape[2] - 1) * config.temporal_factor
    height, width = z.shape[3] * config.spatial_factor, z.shape[4] * config.spatial_factor
    extra = extra_bytes(vae.decoder, Extent(z.shape[2], z.shape[3] * z.shape[4]))
    fast = tiling.allows(extra)
    result = torch.empty(z.shape[0], 3, frames, height, width, device=z.device)

    def decode_one(i: int, item: Tensor, pixels: int) -> None:
        done = 0

        def sink(rows: Tensor, last: bool) -> None:
            nonlocal done
            if rows.shape[2]:
                rows = unpatchify(rows, config.patch_size)
                result[i, :, :, done : done + rows.shape[2]] = rearrange(rows, "t c h w -> c t h w")
                done += rows.shape[2]
                if on_piece is not None:
                    on_piece(i * height + done, len(z) * height)

        x = rearrange(item, "1 c t h w -> t c h w").contiguous(memory_format=torch.channels_last)
        decode_rows(vae.decoder, x, pixels, sink, fast)

    for i, item in enumerate(z.split(1)):
        piece = tiling.pixels(config, (height, width), z.dtype, z.device, fast * extra)
        with_smaller_pieces(partial(decode_one, i, item), piece)
    return result
