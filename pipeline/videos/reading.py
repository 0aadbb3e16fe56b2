"""Videos from disk, a frame at a time: how large and how many the frames are is known before one is decoded.

Images and animations are read through Pillow, video files through PyAV, TinyWorlds' ``.h5`` data through h5py, and
``.safetensors`` files with a tensor ``frames``, as the demo's ``world_clip.safetensors``, through safetensors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageSequence, UnidentifiedImageError
from torch import Tensor

from ...printable import SentenceError
from ..pictures.convert import bytes_to_signed
from .writing import VIDEO_FILES, import_pyav

__all__ = ["Excerpt", "Video", "open_video", "read_frames"]

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
MAX_PIXELS = 4096 * 2304  # of a frame: those of 4K video
MAX_BYTES = 2**30
"""Of all frames that are read, as float32."""

_DAMAGED = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, Image.DecompressionBombError,
    MemoryError,
)  # fmt: skip
"""The ways in which Pillow's readers fail on a damaged image; a part that claims gigabytes is read whole, or not."""


@dataclass(frozen=True)
class Video:
    """A video on disk, open for reading.

    Attributes:
        name: Of the file or folder, for messages.
        size: Width and height of a frame, in pixels.
        count: Number of frames.
        decode: Returns the frames from a number on, every n-th, each uint8 (H, W, 3).
    """

    name: str
    size: tuple[int, int]
    count: int
    decode: Callable[[int, int], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Excerpt:
    """Which frames of a video to read: from ``start`` on every ``every``-th, no more than ``limit``."""

    start: int = 0
    every: int = 1
    limit: int | None = None

    def __post_init__(self) -> None:
        values = (("start", self.start, 0), ("every", self.every, 1), ("frames", self.limit, 1))
        for name, value, least in values:
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; allowed are whole numbers from {least}.")

    def count(self, frames: int) -> int:
        """Return how many frames this takes of a video of ``frames`` frames."""
        there = max(0, -(-(frames - self.start) // self.every))
        return there if self.limit is None else min(there, self.limit)


def open_video(path: Path, number: int | None = None) -> Video:
    """Find out what a video is, without decoding a frame.

    Args:
        path: An image, an animation, a video file, a folder of images (in the order of their names), an ``.h5`` file,
            or a ``.safetensors`` file with ``frames``.
        number: Which video of a file that holds several; None is the first.

    Raises:
        ValueError: There is no such file, it cannot be read, or its frames are too large.
    """
    if not path.is_file() and not path.is_dir():  # nothing, or a device or a pipe, which would never end
        raise SentenceError(f"{path}: there is no such video; check the name and the folder.")
    openers = {".safetensors": _open_tensors, ".h5": _open_h5, ".hdf5": _open_h5}
    opener = openers.get(path.suffix.lower(), _open_file if path.is_dir() or number is None else None)
    if opener is None:
        raise ValueError(f"{path.name}: holds one video; leave out the number {number}.")
    video = opener(path, number or 0)
    width, height = video.size
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{path.name}: its frames have {width}x{height} pixels; at most {MAX_PIXELS} are read; make them smaller."
        )
    return video


def read_frames(video: Video, excerpt: Excerpt, fit: Callable[[Tensor], Tensor] = lambda frames: frames) -> Tensor:
    """Read frames of a video, each brought to its final size before the next is decoded.

    Args:
        video: As :func:`open_video` returns it.
        excerpt: Which frames.
        fit: Makes (1, 3, H, W) into (1, 3, H', W').

    Returns:
        (t, 3, H', W') float32 in [-1, 1].

    Raises:
        ValueError: The video has no such frames, cannot be decoded, or they take too much memory.
    """
    count = excerpt.count(video.count)
    if not count:
        raise ValueError(
            f"{video.name}: has {video.count} frames, none from number {excerpt.start} on; choose a smaller start."
        )
    frames, done = torch.empty(0), 0
    for image in islice(video.decode(excerpt.start, excerpt.every), count):
        if image.shape[1::-1] != video.size:
            raise ValueError(f"{video.name}: frame {done} has another size than the first; convert it anew.")
        frame = fit(bytes_to_signed(rearrange(torch.from_numpy(image), "h w c -> 1 c h w")))[0]
        if not done:
            frames = _make_room(video, frame, count)
        frames[done] = frame
        done += 1
    if not done:
        raise ValueError(f"{video.name}: no frame could be decoded from number {excerpt.start} on; copy it again.")
    return frames[:done]


def _make_room(video: Video, frame: Tensor, count: int) -> Tensor:
    """Return memory for ``count`` frames like the first one, if that is not too much."""
    needed = count * frame.nbytes
    if needed > MAX_BYTES:
        raise ValueError(
            f"{video.name}: {count} frames of {video.size[0]}x{video.size[1]} pixels need {needed / 2**30:.1f} GB of "
            f"memory, and at most {MAX_BYTES / 2**30:g} is taken; read fewer with --frames, or smaller ones with "
            "--resize."
        )
    return frame.new_empty(count, *frame.shape)


# What a video may lie in ---------------------------------------------------------------------------------------------


def _open_file(path: Path, _: int) -> Video:
    if path.is_dir():
        return _open_folder(path)
    return _open_video_file(path) if path.suffix.lower() in VIDEO_FILES else _open_image(path)


def _open_folder(path: Path) -> Video:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)
    if not files:
        raise ValueError(f"{path.name}: holds no images; give a folder of {', '.join(IMAGES)} files.")
    parts = [_open_image(file) for file in files]
    sizes = {part.size for part in parts}
    if len(sizes) > 1:
        raise ValueError(f"{path.name}: images of {len(sizes)} different sizes; a video needs one size.")

    def decode(start: int, every: int) -> Iterator[np.ndarray]:
        frames = (frame for part in parts for frame in part.decode(0, 1))
        return islice(frames, start, None, every)

    return Video(path.name, parts[0].size, sum(part.count for part in parts), decode)


def _open_image(path: Path) -> Video:
    with _explain_damage(path), Image.open(path) as image:
        size, count = image.size, getattr(image, "n_frames", 1)
    return Video(path.name, size, count, lambda start, every: _decode_image(path, start, every))


def _decode_image(path: Path, start: int, every: int) -> Iterator[np.ndarray]:
    with _explain_damage(path), Image.open(path) as image:
        for frame in islice(ImageSequence.Iterator(image), start, None, every):
            yield np.array(frame.convert("RGB"))


@contextmanager
def _explain_damage(path: Path) -> Iterator[None]:
    """Say in one sentence what Pillow says in many ways."""
    try:
        yield
    except _DAMAGED as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({str(error)[:100] or type(error).__name__})"
        raise ValueError(
            f"{path.name}: is not an image, an animation or a video that can be read{reason}; copy or choose another."
        ) from error


def _open_video_file(path: Path) -> Video:
    with _open_container(path) as container:
        if not container.streams.video:
            raise ValueError(f"{path.name}: holds no video, only sound; choose another file.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError(f"{path.name}: its codec is not known here; convert it to .mp4 with H.264, or to .gif.")
        size = (stream.codec_context.width, stream.codec_context.height)
        count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
    return Video(path.name, size, count, lambda start, every: _decode_video_file(path, start, every))


def _decode_video_file(path: Path, start: int, every: int) -> Iterator[np.ndarray]:
    with _open_container(path) as container:
        for frame in islice(container.decode(video=0), start, None, every):
            yield frame.to_ndarray(format="rgb24")


@contextmanager
def _open_container(path: Path) -> Iterator[Any]:
    av = import_pyav(path)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(
            f"{path.name}: cannot be read as a video ({error}); copy it again, or convert it to .mp4 or .gif."
        ) from error


def _open_tensors(path: Path, number: int) -> Video:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            found = file.get_slice("frames") if "frames" in file.keys() else None  # noqa: SIM118 - not a mapping
            shape = None if found is None else (found.get_dtype(), list(found.get_shape()))
    except (SafetensorError, OSError) as error:
        raise _make_array_error(path, str(error)) from error
    if shape is None:
        raise _make_array_error(path, "it holds no tensor of that name")
    size, count = _check_array(path, *shape, number)

    def decode(start: int, every: int) -> Iterator[np.ndarray]:
        with safe_open(path, "pt") as file:
            frames = file.get_slice("frames")
            for i in range(start, count, every):
                yield (frames[number, i] if len(shape[1]) == 5 else frames[i]).numpy()

    return Video(path.name, size, count, decode)


def _open_h5(path: Path, number: int) -> Video:
    try:
        import h5py
    except ImportError as error:
        raise ValueError(
            f"{path.name}: needs the package h5py, which is not installed: `pip install wan-lite[world]`."
        ) from error
    try:
        with h5py.File(path) as file:
            found: Any = file.get("frames")
            shape = (str(getattr(found, "dtype", None)), list(getattr(found, "shape", ())))
    except OSError as error:
        raise _make_array_error(path, str(error)) from error
    size, count = _check_array(path, *shape, number)

    def decode(start: int, every: int) -> Iterator[np.ndarray]:
        with h5py.File(path) as file:
            frames: Any = file["frames"]
            for i in range(start, count, every):
                yield np.asarray(frames[number, i] if len(shape[1]) == 5 else frames[i])

    return Video(path.name, size, count, decode)


def _check_array(path: Path, kind: str, shape: list[int], number: int) -> tuple[tuple[int, int], int]:
    """Return size and count of an array of frames."""
    if kind.lower() not in ("u8", "uint8") or len(shape) not in (4, 5) or shape[-1] != 3 or not all(shape):
        raise _make_array_error(path, f"found {kind} {shape}")
    videos = shape[0] if len(shape) == 5 else 1
    if not 0 <= number < videos:
        raise ValueError(f"{path.name}: has no video {number}; it holds {videos}, counted from 0.")
    return (shape[-2], shape[-3]), shape[-4]


def _make_array_error(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path.name}: has no frames that can be read ({reason[:100]}); it needs 'frames', 8-bit (t, H, W, 3) or "
        "(videos, t, H, W, 3)."
    )
