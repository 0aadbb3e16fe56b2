"""Short clips on disk: pictures, animated GIF and WEBP through Pillow, video through PyAV where it is installed."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageSequence, UnidentifiedImageError
from torch import Tensor

from ..atomic import replacing
from ..pipeline.pictures.convert import bytes_to_signed, to_uint8

__all__ = ["ANIMATIONS", "VIDEOS", "check_clip_name", "read_clip", "write_clip"]

ANIMATIONS, VIDEOS = (".gif", ".webp", ".png"), (".mp4", ".mkv", ".mov", ".webm")
_BOMB = Image.DecompressionBombError
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


def read_clip(path: str | os.PathLike[str], *, start: int = 0, every: int = 1, limit: int | None = None) -> Tensor:
    """Read a clip: a picture, an animation, a video, or a folder of pictures in the order of their names.

    Args:
        start: frames to skip. every: take each every-th frame after that. limit: read no more than that many.

    Returns:
        (t, 3, H, W) float32 in [-1, 1].

    Raises:
        ValueError: there is no such clip, it cannot be read, has no frames left, or its pictures differ in size.
    """
    path = Path(path)
    for name, value, least in (("start", start, 0), ("every", every, 1), ("frames", 1 if limit is None else limit, 1)):
        if value < least:
            raise ValueError(f"{name} is {value}; allowed are whole numbers from {least}.")
    if not path.exists():
        raise ValueError(f"{path}: there is no such clip; check the name and the folder.")
    chosen = list(islice(_frames(path), start, None if limit is None else start + limit * every, every))
    if not chosen:
        raise ValueError(f"{path.name}: has no frame from number {start} on; choose a smaller start.")
    sizes = {frame.shape for frame in chosen}
    if len(sizes) > 1:
        raise ValueError(f"{path.name}: pictures of {len(sizes)} different sizes; a clip needs one size.")
    return bytes_to_signed(rearrange(torch.from_numpy(np.stack(chosen)), "t h w c -> t c h w"))


def write_clip(frames: Tensor, path: str | os.PathLike[str], fps: float) -> None:
    """Write frames (t, H, W, 3) in [0, 1] as an animation (.gif, .webp, .png) or a video (.mp4, .mkv, .mov, .webm).

    Raises:
        ValueError: the ending is not known, fps is not from 0.1 to 1000, or a video is asked for and PyAV is missing.
        OSError: the file cannot be written; what was there stays.
    """
    path = Path(path)
    check_clip_name(path, fps)
    pictures = to_uint8(frames).numpy()
    with replacing(path) as part:
        if path.suffix.lower() in VIDEOS:
            _write_video(pictures, part, fps)
        else:
            first, *rest = [Image.fromarray(picture) for picture in pictures]
            exact: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
            first.save(part, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **exact)


def check_clip_name(path: Path, fps: float) -> None:
    """Raise ValueError where :func:`write_clip` could not write: to be asked before the frames are made."""
    if path.suffix.lower() in VIDEOS:
        _pyav(path)
    elif path.suffix.lower() not in ANIMATIONS:
        raise ValueError(f"{path.name}: not an ending of a clip; use one of {', '.join((*ANIMATIONS, *VIDEOS))}.")
    if not 0.1 <= fps <= 1000:
        raise ValueError(f"fps is {fps}; allowed are numbers from 0.1 to 1000.")


def _frames(path: Path) -> Iterator[np.ndarray]:
    if path.is_dir():
        for name in sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _PICTURES):
            yield from _pictures(name)
    elif path.suffix.lower() in VIDEOS:
        yield from _video(path)
    else:
        yield from _pictures(path)


def _pictures(path: Path) -> Iterator[np.ndarray]:
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                yield np.asarray(frame.convert("RGB"))
    # a damaged picture makes Pillow's readers fail in all these ways
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, _BOMB) as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({str(error)[:100]})"
        raise ValueError(
            f"{path.name}: is not a picture, an animation or a video that can be read{reason}; copy or choose another."
        ) from error


def _video(path: Path) -> Iterator[np.ndarray]:
    av = _pyav(path)
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except av.FFmpegError as error:
        raise ValueError(
            f"{path.name}: cannot be read as a video ({error}); copy it again, or convert it to .mp4 or .gif."
        ) from error


def _write_video(pictures: np.ndarray, path: Path, fps: float) -> None:
    av = _pyav(path)
    height, width = pictures[0].shape[:2]
    with av.open(str(path), mode="w") as container:
        codec = "libvpx-vp9" if path.suffix.lower() == ".webm" else "libx264"
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        # Video colour is stored at half resolution: sides must be even.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for picture in pictures:
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())


def _pyav(path: Path) -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{path.name}: videos need PyAV; install it (pip install av), or write a .gif or .webp instead."
        ) from error
    return av
