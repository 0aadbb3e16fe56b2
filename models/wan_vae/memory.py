"""How much memory encoding and decoding take, and in which chunks they therefore run: one rule for all who ask.

What is alive at once, in bytes above the weights:

- an image on a card runs through the plain network: some feature maps of the last resolution stage;
- otherwise a chunk of pixels at each layer, the rows that the layers carry over (which grow with the frames) or, where
  a video comes a few frames at a time, the last two frames of each layer's input (which grow with the frame's size),
  and the middle block's feature map, which its attention needs whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from .config import WanVAEConfig
from .cpu.algorithm import estimate_workspace
from .feature_map import FeatureMapSize, trace_sizes
from .layers import CausalConv, Decoder, Downsample, DownStage, Encoder, Head, Residual, Upsample, UpStage
from .tiling import AUTO, Tiling

__all__ = [
    "MemoryPlan",
    "VideoState",
    "choose_chunk_pixels",
    "describe_shortage",
    "estimate_memory",
    "estimate_state",
    "plan_memory",
    "run_with_smaller_chunks",
]

_CPU_CHUNK = 8192  # pixels at any layer: activations stay in the CPU's cache; measured, flat from 4096 to 32768
_SMALLEST_CHUNK = 64
_BUFFERS = 14  # tensors of the widest layer's channels and a chunk's pixels that are alive at once at most, measured
_MIDDLE = 6  # the same around the middle attention, over the whole latent
_FIXED = 24 * 2**20  # what the allocator and the convolutions' own buffers take on a CPU, measured
_CPU_FRAMES = 4  # latent frames at a time: fewer would look back at as many frames as they make
_PLAIN = {(False, 1): 4.0, (False, 2): 7.0, (True, 1): 4.05, (True, 2): 5.1}
"""Feature maps of the last stage that the plain network holds, for (is encoder, patch size), counted."""
_CARD_SHARE = 4  # chunks of a video on a card are this part of a frame: more take memory and no less time
log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class VideoState:
    """Bytes that the layers hold between two chunks.

    Args:
        rows: Of rows, where all frames come at once.
        frames: Of frames, where a few come at a time.
    """

    rows: int
    frames: int


@dataclass(frozen=True)
class MemoryPlan:
    """How an image or video is cut.

    Args:
        chunk_pixels: That a layer takes at a time, whatever its resolution.
        has_workspace: Whether the convolution algorithms of CPUs have room.
        chunk_frames: Frames of the network's input at a time, after the first; None: all at once.
        is_plain: Whether an image that is one chunk runs through the plain network.
    """

    chunk_pixels: int
    has_workspace: bool = True
    chunk_frames: int | None = None
    is_plain: bool = False

    def limit_frames(self, size: FeatureMapSize) -> FeatureMapSize:
        """Return a size with as many frames as come at once, those that are looked back at included."""
        return _limit_frames(size, self.chunk_frames)


def plan_memory(
    network: Encoder | Decoder, config: WanVAEConfig, size: FeatureMapSize, tiling: Tiling, in_frames: bool = False
) -> MemoryPlan:
    """Choose the chunks of an image or video.

    Args:
        network: The encoder or decoder.
        config: Of the VAE.
        size: Of the network's input, whole.
        tiling: What the user chose.
        in_frames: Whether the frames of a video must come as they are done.
    """
    weight = network.conv1.weight
    shape = _measure_image(network, config, size)
    chunk_frames = _choose_chunk_frames(network, config, size, weight.device.type, tiling, in_frames)
    held = _measure_held(network, config, size, chunk_frames)
    if tiling.budget_mb is None:
        plain = size.frames == 1 and weight.device.type != "cpu"
        pixels = choose_chunk_pixels(tiling, config, shape, weight, held)
        return MemoryPlan(pixels, True, chunk_frames, plain)
    workspace = estimate_workspace(network, _limit_frames(size, chunk_frames))
    has_workspace = 2 * workspace + held <= tiling.budget_mb * 2**20
    held += workspace if has_workspace else 0
    pixels = choose_chunk_pixels(tiling, config, shape, weight, held)
    return MemoryPlan(pixels, has_workspace, chunk_frames)


def _limit_frames(size: FeatureMapSize, chunk_frames: int | None) -> FeatureMapSize:
    """Return a size with as many frames as come at once, those that are looked back at included."""
    frames = size.frames if chunk_frames is None else min(size.frames, chunk_frames + 2)
    return FeatureMapSize(frames, size.height, size.width)


def _choose_chunk_frames(
    network: Encoder | Decoder,
    config: WanVAEConfig,
    size: FeatureMapSize,
    device_type: str,
    tiling: Tiling = AUTO,
    in_frames: bool = False,
) -> int | None:
    """Return how many frames of the network's input come at a time; None: all, because rows take less memory."""
    if size.frames == 1:
        return None
    state = estimate_state(network, size, 1)
    if not in_frames and (tiling.mode == "off" or state.rows <= state.frames):
        return None
    latents = _CPU_FRAMES if device_type == "cpu" else 1
    return latents * config.temporal_factor if isinstance(network, Encoder) else latents


def _measure_held(
    network: Encoder | Decoder, config: WanVAEConfig, size: FeatureMapSize, chunk_frames: int | None
) -> int:
    """Return the bytes that a video takes beside what an image of its size would."""
    if size.frames == 1:
        return 0
    weight = network.conv1.weight
    state = estimate_state(network, size, weight.dtype.itemsize)
    latents = _count_latents(network, config, size.frames if chunk_frames is None else chunk_frames)
    middle = (latents - 1) * _measure_middle(config, _measure_image(network, config, size), weight)
    return middle + (state.rows if chunk_frames is None else state.frames)


def _count_latents(network: Encoder | Decoder, config: WanVAEConfig, frames: int) -> int:
    return 1 + (frames - 1) // config.temporal_factor if isinstance(network, Encoder) else frames


def _measure_image(network: Encoder | Decoder, config: WanVAEConfig, size: FeatureMapSize) -> tuple[int, int]:
    """Return height and width of the image in pixels."""
    factor = config.patch_size if isinstance(network, Encoder) else config.spatial_factor
    return size.height * factor, size.width * factor


def _measure_middle(config: WanVAEConfig, shape: tuple[int, int], weight: Tensor) -> int:
    """Return the bytes around the middle attention for each latent frame."""
    return _MIDDLE * shape[0] * shape[1] // config.spatial_factor**2 * _measure_pixel(config, weight)


def _measure_pixel(config: WanVAEConfig, weight: Tensor) -> int:
    """Return the bytes of a pixel of the widest layer."""
    return max(*config.encoder_dims, *config.decoder_dims) * weight.dtype.itemsize


def estimate_state(network: Encoder | Decoder, size: FeatureMapSize, itemsize: int) -> VideoState:
    """Return what the layers hold between two chunks.

    Args:
        network: The encoder or decoder.
        size: Of its input, whole.
        itemsize: Bytes of a number.
    """
    rows = frames = 0
    for channels, inside, keep in _trace_inputs(network.layers, size):
        rows += 2 * channels * inside.frames * inside.width
        frames += keep * channels * inside.frame_pixels
    return VideoState(rows * itemsize, frames * itemsize)


def _trace_inputs(
    layers: Iterator[nn.Module] | list[nn.Module], size: FeatureMapSize
) -> Iterator[tuple[int, FeatureMapSize, int]]:
    """Yield the channels and size of what each layer remembers, and of how many frames."""
    for layer, inside in trace_sizes(layers, size):
        if isinstance(layer, CausalConv):
            yield layer.in_channels, inside, 2
        elif isinstance(layer, (Residual, Head)):
            convs = [conv for conv in layer.modules() if isinstance(conv, CausalConv)]
            yield from ((conv.in_channels, inside, 2) for conv in convs)
            if isinstance(layer, Residual):
                yield convs[-1].out_channels, inside, 0  # the shortcut's rows, which wait for the convolutions'
        elif isinstance(layer, (DownStage, UpStage)):
            yield from _trace_inputs(list(layer.layers), inside)
            if layer.scale != (1, 1):  # the rows of the shortcut, which wait for all convolutions inside
                after = inside.after(layer)
                yield layer.out_dim * len(layer.layers) * after.width // inside.width, after, 0
        elif isinstance(layer, Downsample):
            yield layer.conv.in_channels, inside, 0
            yield layer.conv.in_channels, inside.after(layer), int(layer.temporal)
        elif isinstance(layer, Upsample):
            yield layer.conv.in_channels, inside, 2 * layer.temporal
            yield layer.conv.in_channels, inside.after(layer), 0


def estimate_memory(network: Encoder | Decoder, config: WanVAEConfig, size: FeatureMapSize, device_type: str) -> int:
    """Return the bytes that an image or video takes above the weights and beside its result, with tiling ``auto``.

    Args:
        network: The encoder or decoder, in the precision in which it runs.
        config: Of the VAE.
        size: Of the network's input, whole.
        device_type: Where it will run, wherever it is now.
    """
    weight, patch = network.conv1.weight, config.patch_size
    height, width = _measure_image(network, config, size)
    on_cpu, is_encoder = device_type == "cpu", isinstance(network, Encoder)
    last = config.dim if is_encoder else config.dec_dim
    if size.frames == 1 and not on_cpu:
        return int(_PLAIN[is_encoder, patch] * last * height * width / patch**2) * weight.dtype.itemsize
    chunk_frames = _choose_chunk_frames(network, config, size, device_type)
    held = _measure_held(network, config, size, chunk_frames) + _measure_middle(config, (height, width), weight)
    if on_cpu:
        chunk = _BUFFERS * _CPU_CHUNK * _measure_pixel(config, weight)
        return held + chunk + _FIXED + estimate_workspace(network, _limit_frames(size, chunk_frames))
    buffers = _count_card_buffers(is_encoder, patch, _count_latents(network, config, size.frames), chunk_frames)
    return held + int(buffers * height * width / _CARD_SHARE) * last * weight.dtype.itemsize


def _count_card_buffers(is_encoder: bool, patch: int, latents: int, chunk_frames: int | None) -> float:
    """Return how many tensors of a chunk's pixels and the last stage's channels a video takes on a card, counted.

    In Wan 2.2 the shortcuts around the stages wait for whole chunks, of more frames in a longer video.
    """
    if patch == 1:
        return 18
    if chunk_frames is not None:
        return 13.3
    if is_encoder:
        return 10.5 if latents <= 5 else 15
    return {2: 14, 3: 15.5, 4: 18.5}.get(latents, 22)


def choose_chunk_pixels(
    tiling: Tiling, config: WanVAEConfig, shape: tuple[int, int], weight: Tensor, held: int = 0
) -> int:
    """Return how many pixels a layer takes at a time, whatever its resolution.

    Args:
        tiling: What the user chose.
        config: Of the VAE.
        shape: Height and width of the image.
        weight: Any weight, for its dtype and device.
        held: Bytes that a video takes whatever the chunks are; 0 for an image.
    """
    height, width = shape
    if tiling.mode == "off":
        return height * width
    most = _CPU_CHUNK if weight.device.type == "cpu" else height * width // (_CARD_SHARE if held else 1)
    free = _measure_free_bytes(tiling, weight.device)
    if free is None:
        return most
    held = _measure_whole(config, shape, weight, held)
    chunk_pixel = _BUFFERS * _measure_pixel(config, weight)
    if free < held + _SMALLEST_CHUNK * chunk_pixel:
        log.warning("%s", _describe_least(free, held + _SMALLEST_CHUNK * chunk_pixel, shape))
    return min(most, max(_SMALLEST_CHUNK, int((free - held) / chunk_pixel)))


def describe_shortage(
    network: Encoder | Decoder,
    config: WanVAEConfig,
    size: FeatureMapSize,
    tiling: Tiling,
    device_type: str,
    in_frames: bool = False,
) -> str:
    """Return a sentence where a budget is less than an image or video takes in the smallest chunks, else nothing.

    Args:
        network: The encoder or decoder.
        config: Of the VAE.
        size: Of the network's input, whole.
        tiling: What the user chose.
        device_type: Where it will run, wherever it is now.
        in_frames: Whether the frames of a video must come as they are done.
    """
    if tiling.budget_mb is None:
        return ""
    weight, shape = network.conv1.weight, _measure_image(network, config, size)
    chunk_frames = _choose_chunk_frames(network, config, size, device_type, tiling, in_frames)
    held = _measure_whole(config, shape, weight, _measure_held(network, config, size, chunk_frames))
    least = held + _SMALLEST_CHUNK * _BUFFERS * _measure_pixel(config, weight)
    free = tiling.budget_mb * 2**20
    return _describe_least(free, least, shape) if free < least else ""


def _measure_whole(config: WanVAEConfig, shape: tuple[int, int], weight: Tensor, held: int) -> int:
    """Return the bytes beside the chunks: what a video takes more, the middle block's feature maps and the pixels."""
    return held + _FIXED + _measure_middle(config, shape, weight) + 3 * 4 * 2 * shape[0] * shape[1]


def _describe_least(free: float, least: float, shape: tuple[int, int]) -> str:
    return (
        f"the VAE may use {free / 2**20:.0f} MB; {shape[1]}x{shape[0]} pixels take at least {least / 2**20:.0f} MB, "
        "and run in the smallest chunks."
    )


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
        work: Takes the pixels of a chunk.
        chunk_pixels: The first ones to try.

    Raises:
        MemoryError: Even the smallest chunks do not fit.
    """
    while True:
        try:
            return work(chunk_pixels)
        except RuntimeError as error:
            chunk_pixels = choose_smaller_chunk(error, chunk_pixels)


def choose_smaller_chunk(error: RuntimeError, chunk_pixels: int) -> int:
    """Return the next size of a chunk to try when memory ran out, with what is cached given back.

    Args:
        error: What happened; raised again where it is anything else.
        chunk_pixels: That did not fit.

    Raises:
        MemoryError: They were the smallest.
    """
    if not is_out_of_memory(error):
        raise error
    if chunk_pixels <= _SMALLEST_CHUNK:
        raise MemoryError("not enough memory even in the smallest chunks; use a smaller image.") from error
    log.warning("out of memory; the VAE continues in chunks of %d pixels", max(_SMALLEST_CHUNK, chunk_pixels // 2))
    _free_cached_memory()
    return max(_SMALLEST_CHUNK, chunk_pixels // 2)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, in the words of any device: CPU, CUDA (both its errors), MPS, XPU."""
    text = str(error).lower()
    words = ("out of memory", "allocate memory", "not enough memory", "out_of_memory", "out_of_device_memory")
    return isinstance(error, torch.OutOfMemoryError) or any(part in text for part in words)


def _free_cached_memory() -> None:
    for name in ("cuda", "xpu", "mps"):
        device = getattr(torch, name, None)
        if device is not None and device.is_available():
            device.empty_cache()
