"""An encoder or decoder run without autograd, one image or video at a time, within the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from einops import rearrange
from torch import Tensor

from ..config import WanVAEConfig
from ..cpu.workspace import Workspace
from ..feature_map import FeatureMapSize, list_inner_layers, list_outer_layers
from ..layers import Attention, Decoder, Encoder, arrange_pixels, patchify
from ..memory import MemoryPlan, plan_memory, run_with_smaller_chunks
from ..tiling import OnProgress, Tiling
from .history import History, Resources
from .inplace import attend
from .rows import Stream, StreamingLayer, gather_rows, make_streaming, run_streaming, run_whole, split_stages

__all__ = ["Part", "Run", "decode_batch", "decode_parts", "encode_batch", "encode_chunk"]

Report = Callable[[int], None]
"""Called with the rows of the image, or of these frames, that are done."""


@dataclass(frozen=True)
class Run:
    """An encoder or decoder that is about to run on an image or video.

    Args:
        network: The encoder or decoder.
        config: Of the VAE.
        size: Of the network's input, of as many frames as come at once.
        plan: The chunks.
    """

    network: Encoder | Decoder
    config: WanVAEConfig
    size: FeatureMapSize
    plan: MemoryPlan

    @classmethod
    def prepare(
        cls,
        network: Encoder | Decoder,
        config: WanVAEConfig,
        size: FeatureMapSize,
        tiling: Tiling,
        in_frames: bool = False,
    ) -> Run:
        """Choose the chunks for an input of this size; ``in_frames``: its frames must come as they are done."""
        plan = plan_memory(network, config, size, tiling, in_frames)
        return cls(network, config, plan.limit_frames(size), plan)

    def make_resources(self) -> Resources:
        """Return what the layers share, at the start of an image or video."""
        history = None if self.plan.chunk_frames is None else History()
        return Resources(Workspace() if self.plan.has_workspace else None, history)

    def split_frames(self, x: Tensor) -> list[Tensor]:
        """Split (c, t, h, w) into what comes at once: all of it, or the first frame and then some at a time."""
        step = self.plan.chunk_frames
        return [x] if step is None else [x[:, :1], *(x[:, 1:].split(step, 1) if x.shape[1] > 1 else ())]

    def is_plain(self, chunk_pixels: int) -> bool:
        """Whether the image runs through the plain network: on a card, all of it in one chunk."""
        return self.plan.is_plain and chunk_pixels >= self.plan.chunk_pixels


@dataclass(frozen=True)
class Part:
    """Pixels that are done.

    Args:
        frame: Of the first of them.
        row: Of the first of them.
        pixels: (t, c, rows, W).
    """

    frame: int
    row: int
    pixels: Tensor


@torch.no_grad()
def encode_batch(
    encoder: Encoder, config: WanVAEConfig, pixels: Tensor, tiling: Tiling, on_progress: OnProgress | None
) -> Tensor:
    """Encode images or videos one at a time, up to the last 1x1 convolution.

    Args:
        encoder: The network.
        config: Of the VAE.
        pixels: In [-1, 1], on any device.
        tiling: The chunks.
        on_progress: Called after each chunk.

    Shapes:
        (b, 3, t, H, W) -> mean and log-variance (b, 2 z, t', h, w).
    """
    height, patch = pixels.shape[3], config.patch_size
    size = FeatureMapSize(pixels.shape[2], height // patch, pixels.shape[4] // patch)
    run = Run.prepare(encoder, config, size, tiling)

    def encode(i: int, chunk_pixels: int) -> Tensor:
        chunks = run.split_frames(pixels[i])
        shared, results = run.make_resources(), []
        for j, chunk in enumerate(chunks):
            report = _make_report(on_progress, (i * len(chunks) + j) * height, len(pixels) * len(chunks) * height)
            results.append(encode_chunk(run, chunk, chunk_pixels, shared, report))
        return torch.cat(results).transpose(0, 1)

    return torch.stack([run_with_smaller_chunks(partial(encode, i), run.plan.chunk_pixels) for i in range(len(pixels))])


def encode_chunk(run: Run, pixels: Tensor, chunk_pixels: int, shared: Resources, report: Report) -> Tensor:
    """Encode the frames that come at once.

    Args:
        run: The encoder and its chunks.
        pixels: All frames, or the next ones.
        chunk_pixels: About how many pixels a layer takes at a time.
        shared: What the layers share.
        report: Called after each chunk of rows.

    Shapes:
        (3, t, H, W) -> (t', 2 z, h, w).
    """
    patch = run.config.patch_size
    x = patchify(rearrange(pixels, "c t h w -> t c h w").to(run.network.conv1.weight), patch)
    x = x.contiguous(memory_format=torch.channels_last)
    if run.is_plain(chunk_pixels):
        y = run.network(x)
        report(pixels.shape[2])
        return y
    y = _encode(run, x, chunk_pixels, shared, lambda rows: report(rows * patch))
    if shared.history is not None:
        shared.history.is_first = False
    return y


@torch.no_grad()
def decode_batch(
    decoder: Decoder,
    config: WanVAEConfig,
    z: Tensor,
    tiling: Tiling,
    on_progress: OnProgress | None,
    out: Tensor | None = None,
) -> Tensor:
    """Decode latents one at a time, from after the first 1x1 convolution.

    Args:
        decoder: The network.
        config: Of the VAE.
        z: Latents in the network's dtype.
        tiling: The chunks.
        on_progress: Called after each chunk.
        out: Where the result goes, on any device, in any dtype; None makes it in float32 beside ``z``.

    Shapes:
        (b, z, t, h, w) -> (b, 3, t', H, W), not clamped.
    """
    run = Run.prepare(decoder, config, FeatureMapSize(*z.shape[2:]), tiling)
    shape = config.shape_pixels(z.shape)
    chunks = len(run.split_frames(z[0]))
    result = out

    def decode(i: int, chunk_pixels: int) -> None:
        nonlocal result
        for j, part in decode_parts(run, z[i], chunk_pixels):
            if result is None:  # made as late as can be: an image is done when its memory is needed
                result = torch.empty(shape, device=z.device)
            t, n = part.pixels.shape[0], part.pixels.shape[2]
            place = result[i, :, part.frame : part.frame + t, part.row : part.row + n]
            place.copy_(rearrange(part.pixels, "t c h w -> c t h w"))
            if on_progress is not None:
                on_progress((i * chunks + j) * shape[3] + part.row + n, len(z) * chunks * shape[3])

    for i in range(len(z)):
        run_with_smaller_chunks(partial(decode, i), run.plan.chunk_pixels)
    return cast("Tensor", result)


def decode_parts(run: Run, z: Tensor, chunk_pixels: int) -> Iterator[tuple[int, Part]]:
    """Decode a latent (z, t, h, w); yield which chunk of frames is being done, and its pixels as they are done.

    Args:
        run: The decoder and its chunks.
        z: The whole latent.
        chunk_pixels: About how many pixels a layer takes at a time.
    """
    shared, frame = run.make_resources(), 0
    for j, chunk in enumerate(run.split_frames(z)):
        x = rearrange(chunk, "c t h w -> t c h w").contiguous(memory_format=torch.channels_last)
        frames = row = 0
        for rows in _decode(run, x, chunk_pixels, shared):
            pixels = arrange_pixels(rows, run.config)
            del rows
            frames = len(pixels)
            yield j, Part(frame, row, pixels)
            row += pixels.shape[2]
            del pixels
        frame += frames
        if shared.history is not None:
            shared.history.is_first = False


def _make_report(on_progress: OnProgress | None, start: int, total: int) -> Report:
    def report(rows: int) -> None:
        if on_progress is not None:
            on_progress(start + rows, total)

    return report


def _encode(run: Run, x: Tensor, chunk_pixels: int, shared: Resources, report: Report) -> Tensor:
    """Run an encoder on (t, 3 or 12, H, W); ``report`` is called with the rows of ``x`` that are done."""
    outer, size = list_outer_layers(run.network), run.size
    stream = _read_rows(x, max(1, chunk_pixels // (x.shape[0] * x.shape[3])), report)
    for stage in split_stages(make_streaming(outer, size, shared)):
        stream = _run_stage(stage, stream, chunk_pixels)
    for layer in outer:
        size = size.after(layer)
    return _run_inner(run, torch.cat([rows for rows, _ in stream], dim=2), chunk_pixels, size, shared)


def _decode(run: Run, x: Tensor, chunk_pixels: int, shared: Resources) -> Iterator[Tensor]:
    """Run a decoder on (t, z, h, w) and yield the finished rows (t', 3 or 12, rows, W)."""
    if run.is_plain(chunk_pixels):
        yield run.network(x)
        return
    x = _run_inner(run, x, chunk_pixels, run.size, shared)
    outer = make_streaming(list_outer_layers(run.network), run.size, shared)
    for rows, _ in run_streaming(outer, x, True, chunk_pixels):
        if rows.shape[2]:
            yield rows


def _read_rows(x: Tensor, rows: int, report: Report) -> Stream:
    done = 0
    for chunk in x.split(rows, dim=2):
        done += chunk.shape[2]
        yield chunk, done == x.shape[2]
        report(done)


def _run_stage(layers: Sequence[StreamingLayer], stream: Stream, chunk_pixels: int) -> Stream:
    for x, last in gather_rows(stream, chunk_pixels):
        yield from run_streaming(layers, x, last, chunk_pixels)


def _run_inner(run: Run, x: Tensor, chunk_pixels: int, size: FeatureMapSize, shared: Resources) -> Tensor:
    """Run the layers at the latent's resolution one after the other, each over the whole latent.

    The attention needs all of it; the others are few and small, and drop their transformed filters as they are done.
    """
    for layer in list_inner_layers(run.network):
        x = attend(layer, x) if isinstance(layer, Attention) else run_whole(layer, x, chunk_pixels, size, shared)
    return x
