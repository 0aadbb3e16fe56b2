"""Videos to disk: animated GIF, WEBP and PNG through Pillow, video files through PyAV where it is installed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ...atomic import replacing
from ..pictures.convert import find_format, to_uint8

__all__ = ["ANIMATIONS", "VIDEO_FILES", "check_video_name", "import_pyav", "stream_video", "write_video"]

ANIMATIONS = (".gif", ".webp", ".png")
VIDEO_FILES = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm"}
"""Endings of video files -> what FFmpeg calls their containers."""


LARGEST_ANIMATION = 10**9
"""Bytes of uncompressed frames; animations, unlike video files, are held whole while they are written."""


def write_video(frames: Iterable[Tensor], path: str | os.PathLike[str], fps: float) -> None:
    """Write an animation (.gif, .webp, .png) or a video file (.mp4, .mkv, .mov, .webm).

    Args:
        frames: Images (H, W, 3) in [0, 1], of which a video file needs only one at a time; or all, (t, H, W, 3).
        path: The file to write; its ending says how.
        fps: Frames per second.

    Raises:
        ValueError: The ending is not known, fps is not from 0.1 to 1000, a video is asked for and PyAV is missing, or
            an animation is too long to be held.
        OSError: The file cannot be written; what was there stays.
    """
    path = Path(path)
    check_video_name(path, fps)
    images, ending = (to_uint8(image).numpy() for image in frames), path.suffix.lower()
    with replacing(path) as part:
        if ending in VIDEO_FILES:
            _encode_video(images, part, fps, VIDEO_FILES[ending])
        else:
            first, *rest = _hold_animation(images, path)
            settings: dict[str, Any] = {"duration": round(1000 / fps), "loop": 0, "format": find_format(path)}
            first.save(part, save_all=True, append_images=rest, lossless=True, **settings)


def _hold_animation(images: Iterable[np.ndarray], path: Path) -> list[Image.Image]:
    """Return the frames of an animation.

    Raises:
        ValueError: They are too many.
    """
    held: list[Image.Image] = []
    for image in images:
        held.append(Image.fromarray(image))
        if len(held) * image.nbytes > LARGEST_ANIMATION:
            most, (height, width, _) = LARGEST_ANIMATION // image.nbytes, image.shape
            raise ValueError(
                f"{path.name}: an animation holds at most {most} frames of {width}x{height}; write a .mp4 instead."
            )
    return held


def stream_video(
    parts: Iterable[Tensor],
    path: str | os.PathLike[str],
    fps: float,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write a video file whose frames come a few at a time; no more of it is held.

    Args:
        parts: Frames (t, H, W, 3) in [0, 1], in order.
        path: The file to write: .mp4, .mkv, .mov or .webm.
        fps: Frames per second.
        metadata: For the file's header.

    Returns:
        How many frames were written.

    Raises:
        ValueError: The ending is not that of a video file, fps is not from 0.1 to 1000, or PyAV is missing.
        OSError: The file cannot be written; what was there stays.
    """
    path = Path(path)
    if path.suffix.lower() not in VIDEO_FILES:
        raise ValueError(f"{path.name}: a video is written as {', '.join(VIDEO_FILES)}; choose one of these endings.")
    check_video_name(path, fps)
    images = (image for part in parts for image in to_uint8(part[..., :3]).numpy())
    with replacing(path) as target:
        return _encode_video(images, target, fps, VIDEO_FILES[path.suffix.lower()], metadata)


def check_video_name(path: Path, fps: float) -> None:
    """Check what :func:`write_video` will need, before the frames are made.

    Raises:
        ValueError: The ending is not known, fps is not from 0.1 to 1000, or PyAV is missing.
    """
    if path.suffix.lower() in VIDEO_FILES:
        import_pyav(path)
    elif path.suffix.lower() not in ANIMATIONS:
        raise ValueError(f"{path.name}: not an ending of a video; use one of {', '.join((*ANIMATIONS, *VIDEO_FILES))}.")
    if not 0.1 <= fps <= 1000:
        raise ValueError(f"fps is {fps}; allowed are numbers from 0.1 to 1000.")


def import_pyav(path: Path) -> ModuleType:
    """Import PyAV, which video files need.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{path.name}: videos need PyAV; install it (pip install wan-lite[video]), or use a .gif or .webp instead."
        ) from error
    return av


def _encode_video(
    images: Iterable[np.ndarray],
    path: Path,
    fps: float,
    container_format: str,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Encode images one after the other; return how many there were."""
    av = import_pyav(path)
    images = iter(images)
    first = next(images)
    height, width = first.shape[:2]
    count = 0
    options = {"movflags": "use_metadata_tags"} if metadata else {}
    with av.open(str(path), mode="w", format=container_format, options=options) as container:
        container.metadata.update(metadata or {})
        codec = "libvpx-vp9" if container_format == "webm" else "libx264"
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        # Video colour is stored at half resolution: sides must be even.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for image in chain([first], images):
            count += 1
            even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    return count
