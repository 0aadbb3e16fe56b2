"""Long videos: frames and latents come and go a few at a time; memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice

import torch
from torch import Tensor

from ..config import WanVAEConfig
from ..feature_map import FeatureMapSize
from ..layers import Decoder, Encoder
from ..memory import choose_smaller_chunk
from ..tiling import OnProgress, Tiling
from ..validation import PADS, check_length, check_pixels
from .history import Resources
from .run import Run, decode_parts, encode_chunk

__all__ = ["stream_decoded", "stream_encoded"]

_UNKNOWN = 2**20  # frames of a video whose end nobody has said


def stream_decoded(
    decoder: Decoder, config: WanVAEConfig, z: Tensor, tiling: Tiling, on_progress: OnProgress | None
) -> Iterator[Tensor]:
    """Decode a batch of videos side by side, from after the first 1x1 convolution.

    Args:
        decoder: The network.
        config: Of the VAE.
        z: (b, z, t, h, w) in the network's dtype.
        tiling: The chunks.
        on_progress: Called after each chunk of rows.

    Yields:
        (b, 3, 1, H, W), then (b, 3, 4k, H, W), float32, not clamped.
    """
    run = Run.prepare(decoder, config, FeatureMapSize(*z.shape[2:]), tiling, in_frames=True)
    videos = [_retry(partial(_decode_chunks, run, item), run.plan.chunk_pixels) for item in z]
    chunks = len(run.split_frames(z[0]))
    height = config.shape_pixels(z.shape)[3]
    for j in range(chunks):
        yield torch.stack([next(video) for video in videos])
        if on_progress is not None:
            on_progress((j + 1) * height, chunks * height)


@torch.no_grad()
def _decode_chunks(run: Run, z: Tensor, chunk_pixels: int) -> Iterator[Tensor]:
    """Decode (z, t, h, w); yield each chunk of frames, (3, t', H, W)."""
    rows: list[Tensor] = []
    current = 0
    for j, part in decode_parts(run, z, chunk_pixels):
        if j != current:
            yield torch.cat(rows, 2)
            rows, current = [], j
        rows.append(part.pixels.transpose(0, 1).float())
    yield torch.cat(rows, 2)


@torch.no_grad()
def stream_encoded(
    encoder: Encoder,
    config: WanVAEConfig,
    frames: Iterable[Tensor],
    tiling: Tiling,
    pad: str | None,
    prepare: Callable[[Tensor], None],
) -> Iterator[Tensor]:
    """Encode a batch of videos side by side, up to the last 1x1 convolution.

    Args:
        encoder: The network.
        config: Of the VAE.
        frames: Pieces (b, 3, t, H, W), of any lengths.
        tiling: The chunks.
        pad: How the video is lengthened at its end.
        prepare: Called with the first frames of a video, before any is encoded.

    Yields:
        Mean and log-variance (b, 2 z, t', h, w).

    Raises:
        ValueError: A piece cannot be encoded, or is of another size than the first.
        MemoryError: Memory ran out; what was given cannot be done again in smaller chunks.
    """
    pieces = _check_pieces(frames, config)
    start = next(pieces, None)
    if start is None:
        raise ValueError("no frames were given; a video has at least one.")
    size = FeatureMapSize(_UNKNOWN, start.shape[3] // config.patch_size, start.shape[4] // config.patch_size)
    step = Run.prepare(encoder, config, size, tiling, in_frames=True).plan.chunk_frames or 1
    groups = _group_frames(chain([start], pieces), config, pad, step)
    opening = list(islice(groups, 2))
    if len(opening) == 1:
        size = replace(size, frames=1)
    else:
        prepare(torch.cat(opening, 2))
    run = Run.prepare(encoder, config, size, tiling, in_frames=True)
    shared = [run.make_resources() for _ in start]
    for group in chain(opening, groups):
        try:
            done = [encode_chunk(run, *one, lambda rows: None) for one in _pair(group, run.plan.chunk_pixels, shared)]
        except RuntimeError as error:
            raise MemoryError(
                f"memory ran out in chunks of {choose_smaller_chunk(error, run.plan.chunk_pixels) * 2} pixels; give a "
                "smaller budget with tiling=Tiling('budget', megabytes)."
            ) from error
        yield torch.stack([item.transpose(0, 1) for item in done])


def _pair(group: Tensor, chunk_pixels: int, shared: list[Resources]) -> list[tuple[Tensor, int, Resources]]:
    return [(item, chunk_pixels, own) for item, own in zip(group, shared, strict=True)]


def _check_pieces(frames: Iterable[Tensor], config: WanVAEConfig) -> Iterator[Tensor]:
    """Yield the pieces of a video, each checked.

    Raises:
        ValueError: One cannot be encoded, or is of another size than the first.
    """
    first: list[int] | None = None
    for piece in frames:
        check_pixels(piece, config, PADS[0])
        shape = [*piece.shape[:2], *piece.shape[3:]]
        first = first or shape
        if shape != first:
            raise ValueError(f"frames of shape {shape} follow frames of shape {first} (b, c, H, W); all must be alike.")
        yield piece


def _group_frames(pieces: Iterable[Tensor], config: WanVAEConfig, pad: str | None, step: int) -> Iterator[Tensor]:
    """Yield the first frame, then ``step`` at a time; the end is lengthened by its last frame where ``pad`` says so.

    Raises:
        ValueError: The video's length is not 4n+1, and ``pad`` is None.
    """
    held: Tensor | None = None
    count, wanted = 0, 1
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], 2)
        while held.shape[2] >= wanted:
            yield held[:, :, :wanted]
            held, count, wanted = held[:, :, wanted:], count + wanted, step
    if held is None or not held.shape[2]:
        return
    more = -held.shape[2] % config.temporal_factor
    if more and pad is None:
        check_length(count + held.shape[2], config)
    yield torch.cat([held, held[:, :, -1:].expand(-1, -1, more, -1, -1)], 2)


def _retry(make: Callable[[int], Iterator[Tensor]], chunk_pixels: int) -> Iterator[Tensor]:
    """Yield what ``make`` does; when memory runs out, start again in smaller chunks and leave out what has been given.

    What the layers remember of earlier frames is half overwritten then, so that the video is done again from its start.
    """
    given = 0
    while True:
        try:
            for i, item in enumerate(make(chunk_pixels)):
                if i >= given:
                    given += 1
                    yield item
            return
        except RuntimeError as error:
            chunk_pixels = choose_smaller_chunk(error, chunk_pixels)
