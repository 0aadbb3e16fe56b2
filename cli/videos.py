"""Videos on disk: images, animated GIF and WEBP through Pillow, video files through PyAV where it is installed."""

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

__all__ = ["ANIMATIONS", "VIDEOS", "check_video_name", "read_video", "write_video"]

ANIMATIONS, VIDEOS = (".gif", ".webp", ".png"), (".mp4", ".mkv", ".mov", ".webm")
_BOMB = Image.DecompressionBombError
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


def read_video(path: str | os.PathLike[str], *, start: int = 0, every: int = 1, limit: int | None = None) -> Tensor:
    """Read a video: an image, an animation, a video file, or a folder of images in the order of their names.

    Args:
        path: The file or folder.
        start: Frames to skip.
        every: Take each every-th frame after that.
        limit: Read no more than that many; None reads all.

    Returns:
        (t, 3, H, W) float32 in [-1, 1].

    Raises:
        ValueError: There is no such file, it cannot be read, has no frames left, or its images differ in size.
    """
    path = Path(path)
    for name, value, least in (("start", start, 0), ("every", every, 1), ("frames", 1 if limit is None else limit, 1)):
        if value < least:
            raise ValueError(f"{name} is {value}; allowed are whole numbers from {least}.")
    if not path.exists():
        raise ValueError(f"{path}: there is no such video; check the name and the folder.")
    chosen = list(islice(_decode_frames(path), start, None if limit is None else start + limit * every, every))
    if not chosen:
        raise ValueError(f"{path.name}: has no frame from number {start} on; choose a smaller start.")
    sizes = {frame.shape for frame in chosen}
    if len(sizes) > 1:
        raise ValueError(f"{path.name}: images of {len(sizes)} different sizes; a video needs one size.")
    return bytes_to_signed(rearrange(torch.from_numpy(np.stack(chosen)), "t h w c -> t c h w"))


def write_video(frames: Tensor, path: str | os.PathLike[str], fps: float) -> None:
    """Write an animation (.gif, .webp, .png) or a video file (.mp4, .mkv, .mov, .webm).

    Args:
        frames: (t, H, W, 3) in [0, 1].
        path: The file to write; its ending says how.
        fps: Frames per second.

    Raises:
        ValueError: The ending is not known, fps is not from 0.1 to 1000, or a video is asked for and PyAV is missing.
        OSError: The file cannot be written; what was there stays.
    """
    path = Path(path)
    check_video_name(path, fps)
    images = to_uint8(frames).numpy()
    with replacing(path) as part:
        if path.suffix.lower() in VIDEOS:
            _encode_video(images, part, fps)
        else:
            first, *rest = [Image.fromarray(image) for image in images]
            exact: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
            first.save(part, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **exact)


def check_video_name(path: Path, fps: float) -> None:
    """Check what :func:`write_video` will need, before the frames are made.

    Raises:
        ValueError: The ending is not known, fps is not from 0.1 to 1000, or PyAV is missing.
    """
    if path.suffix.lower() in VIDEOS:
        _import_pyav(path)
    elif path.suffix.lower() not in ANIMATIONS:
        raise ValueError(f"{path.name}: not an ending of a video; use one of {', '.join((*ANIMATIONS, *VIDEOS))}.")
    if not 0.1 <= fps <= 1000:
        raise ValueError(f"fps is {fps}; allowed are numbers from 0.1 to 1000.")


def _decode_frames(path: Path) -> Iterator[np.ndarray]:
    if path.is_dir():
        for name in sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _IMAGES):
            yield from _decode_image(name)
    elif path.suffix.lower() in VIDEOS:
        yield from _decode_video(path)
    else:
        yield from _decode_image(path)


def _decode_image(path: Path) -> Iterator[np.ndarray]:
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                yield np.asarray(frame.convert("RGB"))
    # a damaged image makes Pillow's readers fail in all these ways
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, _BOMB) as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({str(error)[:100]})"
        raise ValueError(
            f"{path.name}: is not an image, an animation or a video that can be read{reason}; copy or choose another."
        ) from error


def _decode_video(path: Path) -> Iterator[np.ndarray]:
    av = _import_pyav(path)
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except av.FFmpegError as error:
        raise ValueError(
            f"{path.name}: cannot be read as a video ({error}); copy it again, or convert it to .mp4 or .gif."
        ) from error


def _encode_video(images: np.ndarray, path: Path, fps: float) -> None:
    av = _import_pyav(path)
    height, width = images[0].shape[:2]
    with av.open(str(path), mode="w") as container:
        codec = "libvpx-vp9" if path.suffix.lower() == ".webm" else "libx264"
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        # Video colour is stored at half resolution: sides must be even.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for image in images:
            even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())


def _import_pyav(path: Path) -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{path.name}: videos need PyAV; install it (pip install av), or write a .gif or .webp instead."
        ) from error
    return av
