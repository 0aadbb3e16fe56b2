"""An encoder or decoder run as streaming layers, one image or video at a time, within the memory there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import WanVAEConfig
from ..cpu.algorithm import estimate_workspace
from ..cpu.workspace import Workspace
from ..feature_map import FeatureMapSize
from ..layers import Attention, Decoder, Encoder, patchify, unpatchify
from ..tiling import OnProgress, Tiling
from .inplace import attend
from .rows import Stream, StreamingLayer, gather_rows, make_streaming, run_streaming, run_whole, split_stages

__all__ = ["choose_chunk_pixels", "decode_batch", "encode_batch", "run_with_smaller_chunks"]

_CPU_CHUNK = 8192  # pixels at any layer: activations stay in the CPU's cache; measured, flat from 4096 to 32768
_SMALLEST_CHUNK = 64
_BUFFERS = 14  # tensors of the widest layer's channels and a chunk's pixels that are alive at once at most, measured
_MIDDLE = 6  # the same around the middle attention, over the whole latent
_FIXED = 24 * 2**20  # what the allocator and the convolutions' own buffers take on a CPU, measured
log = logging.getLogger(__name__)
Result = TypeVar("Result")


@torch.no_grad()
def encode_batch(
    encoder: Encoder, config: WanVAEConfig, pixels: Tensor, tiling: Tiling, on_progress: OnProgress | None
) -> Tensor:
    """Encode images or videos one at a time, up to the last 1x1 convolution.

    Args:
        encoder: the network.
        config: of the VAE.
        pixels: in [-1, 1].
        tiling: the chunks.
        on_progress: called after each chunk.

    Shapes:
        (b, 3, t, H, W) -> mean and log-variance (b, 2 z, t', h, w).
    """
    frames, height, width = pixels.shape[2:]
    patch = config.patch_size
    size = FeatureMapSize(frames, height * width // patch**2)
    weight = encoder.conv1.weight
    has_workspace, chunk_pixels = _plan_memory(encoder, config, size, (height, width), tiling)

    def encode(i: int, item: Tensor, chunk_pixels: int) -> Tensor:
        def report(rows: int) -> None:
            if on_progress is not None:
                on_progress(i * height + rows * patch, len(pixels) * height)

        x = patchify(rearrange(item, "1 c t h w -> t c h w").to(weight), patch)
        x = x.contiguous(memory_format=torch.channels_last)
        return _encode(encoder, x, chunk_pixels, report, Workspace() if has_workspace else None)

    results = [run_with_smaller_chunks(partial(encode, i, x), chunk_pixels) for i, x in enumerate(pixels.split(1))]
    return torch.stack([result.transpose(0, 1) for result in results])  # b c t h w


@torch.no_grad()
def decode_batch(
    decoder: Decoder, config: WanVAEConfig, z: Tensor, tiling: Tiling, on_progress: OnProgress | None
) -> Tensor:
    """Decode latents one at a time, from after the first 1x1 convolution.

    Args:
        decoder: the network.
        config: of the VAE.
        z: latents in the network's dtype.
        tiling: the chunks.
        on_progress: called after each chunk.

    Shapes:
        (b, z, t, h, w) -> (b, 3, t', H, W), float32, not clamped.
    """
    frames = 1 + (z.shape[2] - 1) * config.temporal_factor
    height, width = z.shape[3] * config.spatial_factor, z.shape[4] * config.spatial_factor
    size = FeatureMapSize(z.shape[2], z.shape[3] * z.shape[4])
    result = torch.empty(z.shape[0], 3, frames, height, width, device=z.device)
    has_workspace, chunk_pixels = _plan_memory(decoder, config, size, (height, width), tiling)

    def decode(i: int, item: Tensor, chunk_pixels: int) -> None:
        done = 0
        x = rearrange(item, "1 c t h w -> t c h w").contiguous(memory_format=torch.channels_last)
        for rows, _ in _decode(decoder, x, chunk_pixels, Workspace() if has_workspace else None):
            if not rows.shape[2]:
                continue
            rows = unpatchify(rows, config.patch_size)
            result[i, :, :, done : done + rows.shape[2]] = rearrange(rows, "t c h w -> c t h w")
            done += rows.shape[2]
            if on_progress is not None:
                on_progress(i * height + done, len(z) * height)

    for i, item in enumerate(z.split(1)):
        run_with_smaller_chunks(partial(decode, i, item), chunk_pixels)
    return result


def _encode(
    encoder: Encoder, x: Tensor, chunk_pixels: int, report: Callable[[int], None], workspace: Workspace | None
) -> Tensor:
    """Run an encoder on (t, 3 or 12, H, W); ``report`` is called with the rows of ``x`` that are done."""
    before, middle, after = encoder.split_parts()
    stream = _read_rows(x, max(1, chunk_pixels // (x.shape[0] * x.shape[3])), report)
    for stage in split_stages(make_streaming(before, FeatureMapSize.of(x), workspace)):
        stream = _run_stage(stage, stream, chunk_pixels)
    y = _run_middle(middle, torch.cat([rows for rows, _ in stream], dim=2), chunk_pixels, workspace)
    for layer in after:
        y = run_whole(layer, y, chunk_pixels, workspace)
    return y


def _decode(decoder: Decoder, x: Tensor, chunk_pixels: int, workspace: Workspace | None) -> Stream:
    """Run a decoder on (t, z, h, w) and yield the finished rows (t', 3 or 12, rows, W)."""
    before, middle, after = decoder.split_parts()
    for layer in before:
        x = run_whole(layer, x, chunk_pixels, workspace)
    x = _run_middle(middle, x, chunk_pixels, workspace)
    yield from run_streaming(make_streaming(after, FeatureMapSize.of(x), workspace), x, True, chunk_pixels)


def _read_rows(x: Tensor, rows: int, report: Callable[[int], None]) -> Stream:
    done = 0
    for chunk in x.split(rows, dim=2):
        done += chunk.shape[2]
        yield chunk, done == x.shape[2]
        report(done)


def _run_stage(layers: Sequence[StreamingLayer], stream: Stream, chunk_pixels: int) -> Stream:
    for x, last in gather_rows(stream, chunk_pixels):
        yield from run_streaming(layers, x, last, chunk_pixels)


def _run_middle(layers: Sequence[nn.Module], x: Tensor, chunk_pixels: int, workspace: Workspace | None) -> Tensor:
    """Run the middle block, which needs the whole latent because of its attention."""
    for layer in layers:
        x = attend(layer, x) if isinstance(layer, Attention) else run_whole(layer, x, chunk_pixels, workspace)
    return x


# Memory --------------------------------------------------------------------------------------------------------------


def _plan_memory(
    network: Encoder | Decoder, config: WanVAEConfig, size: FeatureMapSize, shape: tuple[int, int], tiling: Tiling
) -> tuple[bool, int]:
    """Return whether there is room for the CPU's convolution algorithms, and the pixels of a chunk.

    Args:
        network: the encoder or decoder.
        config: of the VAE.
        size: of the network's input.
        shape: height and width of the image.
        tiling: what the user chose.
    """
    if tiling.budget_mb is None:
        return True, choose_chunk_pixels(tiling, config, shape, network.conv1.weight)
    workspace = estimate_workspace(network, size)
    has_workspace = 2 * workspace <= tiling.budget_mb * 2**20
    workspace = workspace if has_workspace else 0
    return has_workspace, choose_chunk_pixels(tiling, config, shape, network.conv1.weight, workspace)


def choose_chunk_pixels(
    tiling: Tiling, config: WanVAEConfig, shape: tuple[int, int], weight: Tensor, workspace: int = 0
) -> int:
    """Return how many pixels a layer takes at a time, whatever its resolution.

    Args:
        tiling: what the user chose.
        config: of the VAE.
        shape: height and width of the image.
        weight: any weight, for its dtype and device.
        workspace: bytes that the convolution algorithms take.
    """
    height, width = shape
    if tiling.mode == "off":
        return height * width
    most = _CPU_CHUNK if weight.device.type == "cpu" else height * width
    free = _measure_free_bytes(tiling, weight.device)
    if free is None:
        return most
    widest = max(*config.encoder_dims, *config.decoder_dims) * weight.dtype.itemsize
    latent = height * width // config.spatial_factor**2
    left = free - _FIXED - workspace - _MIDDLE * latent * widest - 3 * 4 * 2 * height * width
    if left < 0:
        log.warning(
            "the VAE has %.0f MB for an image of %dx%d, whose middle block alone needs more; "
            "using the smallest chunks", free / 2**20, width, height,
        )  # fmt: skip
    return min(most, max(_SMALLEST_CHUNK, int(left / (_BUFFERS * widest))))


def _measure_free_bytes(tiling: Tiling, device: torch.device) -> float | None:
    if tiling.budget_mb is not None:
        return tiling.budget_mb * 2**20
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return 0.8 * (torch.cuda.mem_get_info(device)[0] + unused)
    return None


def run_with_smaller_chunks(work: Callable[[int], Result], chunk_pixels: int) -> Result:
    """Return ``work(chunk_pixels)``; when memory runs out, try again with chunks half as large.

    Args:
        work: takes the pixels of a chunk.
        chunk_pixels: the first ones to try.

    Raises:
        MemoryError: even the smallest chunks do not fit.
    """
    while True:
        try:
            return work(chunk_pixels)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if chunk_pixels <= _SMALLEST_CHUNK:
                raise MemoryError("not enough memory even in the smallest chunks; use a smaller image.") from error
        chunk_pixels = max(_SMALLEST_CHUNK, chunk_pixels // 2)
        log.warning("out of memory; the VAE continues in chunks of %d pixels", chunk_pixels)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in text or "not enough memory" in text
