"""Videos on disk: what is written comes back, sizes are known before a frame is decoded, and memory is bounded."""

from __future__ import annotations

import struct
import sys
import weakref
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan_lite.demo import demo_file
from wan_lite.pipeline.pictures.convert import bytes_to_signed
from wan_lite.pipeline.videos import reading, writing
from wan_lite.pipeline.videos.reading import Excerpt, Video, open_video, read_frames
from wan_lite.pipeline.videos.writing import write_video


def read(path: Path, start: int = 0, every: int = 1, limit: int | None = None) -> Tensor:
    return read_frames(open_video(path), Excerpt(start, every, limit))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Six frames (t, H, W, 3) that differ, of a size that is not square."""
    return np.random.default_rng(0).integers(0, 256, (6, 16, 24, 3), dtype=np.uint8)


def as_tensor(frames: np.ndarray) -> Tensor:
    return bytes_to_signed(torch.from_numpy(frames)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("ending", [".webp", ".png"])
def test_what_is_written_comes_back(ending: str, tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / f"c{ending}"
    write_video(torch.from_numpy(frames) / 255 + 1e-4, path, fps=4)
    video = open_video(path)
    assert (video.size, video.count) == ((24, 16), 6)
    torch.testing.assert_close(read(path), as_tensor(frames))
    torch.testing.assert_close(read(path, start=1, every=2, limit=2), as_tensor(frames)[[1, 3]])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".webm"])
def test_video_files_are_of_their_kind_and_know_their_length(ending: str, tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / f"c{ending}"
    write_video(torch.from_numpy(frames) / 255, path, fps=4)
    video = open_video(path)
    assert (video.size, video.count) == ((24, 16), 6)
    assert read(path, start=2).shape == (4, 3, 16, 24)


def test_tensors_and_h5_hold_frames_of_one_or_several_videos(tmp_path: Path, frames: np.ndarray) -> None:
    save_file({"frames": torch.from_numpy(frames)}, tmp_path / "one.safetensors")
    save_file({"frames": torch.from_numpy(np.stack([frames, 255 - frames]))}, tmp_path / "two.safetensors")
    with h5py.File(tmp_path / "one.h5", "w") as file:  # as TinyWorlds' data sets are
        file.create_dataset("frames", data=frames, compression="lzf")
    for path, number, wanted in (
        (tmp_path / "one.safetensors", None, frames),
        (tmp_path / "two.safetensors", None, frames),
        (tmp_path / "two.safetensors", 1, 255 - frames),
        (tmp_path / "one.h5", None, frames),
    ):
        video = open_video(path, number)
        assert (video.size, video.count) == ((24, 16), 6)
        torch.testing.assert_close(read_frames(video, Excerpt(1, 2)), as_tensor(wanted)[1::2])
    with pytest.raises(ValueError, match="has no video 2; it holds 2"):
        open_video(tmp_path / "two.safetensors", 2)


def test_the_demos_own_video_is_read() -> None:
    truth = load_file(demo_file("world_clip"))["frames"]
    video = open_video(demo_file("world_clip"), 3)
    assert (video.size, video.count) == ((32, 32), 26)
    torch.testing.assert_close(read_frames(video, Excerpt(limit=4)), as_tensor(truth[3, :4].numpy()))


def test_a_folder_of_images(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"{i}.png")
    assert read(tmp_path)[:, 0, 0, 0].tolist() == pytest.approx([i / 127.5 - 1 for i in range(3)])
    assert len(read(tmp_path, start=2)) == 1
    Image.new("RGB", (9, 8)).save(tmp_path / "9.png")
    with pytest.raises(ValueError, match="2 different sizes"):
        read(tmp_path)


def test_only_what_is_asked_for_is_decoded_and_each_frame_is_fitted_before_the_next() -> None:
    alive: list[int] = []

    def decode(start: int, every: int) -> object:
        for number in count(start, every):
            alive.append(number)
            yield np.full((8, 8, 3), number, dtype=np.uint8)

    found = read_frames(
        Video("x", (8, 8), 1000, decode), Excerpt(5, 10, 3), lambda frames: (alive.append(-1), frames[..., :2, :2])[1]
    )
    assert found.shape == (3, 3, 2, 2)
    assert alive == [5, -1, 15, -1, 25, -1]


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG of this size, with no pixels behind it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", b""))
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def gif_of(width: int, height: int) -> bytes:
    """A GIF with a screen of this size and twelve frames of one pixel."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + 12 * frame + b"\x3b"


@pytest.mark.parametrize(("name", "content"), [("a.png", png_of(9000, 9000)), ("a.gif", gif_of(9000, 9000))])
def test_frames_that_are_too_large_are_refused_before_they_are_decoded(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_decode_image", lambda *_: pytest.fail("it was decoded"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: its frames have 9000x9000 pixels"):
        read(tmp_path / name)


def test_a_length_that_does_not_fit_into_memory_is_refused_at_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def decode(start: int, every: int) -> object:
        for number in count(start, every):
            decoded.append(number)
            yield np.zeros((1000, 1000, 3), dtype=np.uint8)

    with pytest.raises(ValueError, match=r"x: 500 frames of 1000x1000 pixels need 5.6 GB .* --frames"):
        read_frames(Video("x", (1000, 1000), 500, decode), Excerpt())
    assert decoded == [0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.png", b"no image", "is not an image"),
        ("x.gif", b"", "is not an image"),
        ("x.mp4", b"no video", "cannot be read as a video"),
        ("x.h5", b"no data", "has no frames that can be read"),
        ("x.safetensors", b"no data", "has no frames that can be read"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: {said}"):
        read(tmp_path / name)


def test_arrays_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name, tensors in (
        ("floats", {"frames": torch.zeros(2, 8, 8, 3)}),
        ("planes", {"frames": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}),
        ("empty", {"frames": torch.zeros(0, 8, 8, 3, dtype=torch.uint8)}),
        ("other", {"images": torch.zeros(2, 8, 8, 3, dtype=torch.uint8)}),
    ):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(ValueError, match=f"{name}.safetensors: has no frames that can be read"):
            open_video(tmp_path / f"{name}.safetensors")


def test_impossible_excerpts_are_sentences(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="there is no such video"):
        read(tmp_path / "none.gif")
    with pytest.raises(ValueError, match="has 1 frames, none from number 99 on"):
        read(tmp_path / "a.png", start=99)
    with pytest.raises(ValueError, match="every is 0"):
        read(tmp_path / "a.png", every=0)
    with pytest.raises(ValueError, match="not an ending"):
        write_video(torch.zeros(1, 8, 8, 3), tmp_path / "x.txt", fps=1)


def test_an_animation_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "LARGEST_ANIMATION", 3 * 8 * 8 * 3)
    frames = [torch.zeros(8, 8, 3)] * 4
    write_video(frames[:3], tmp_path / "a.webp", fps=4)
    with pytest.raises(ValueError, match=r"long.webp: .*at most 3 frames of 8x8; write a .mp4"):
        write_video(frames, tmp_path / "long.webp", fps=4)
    assert not list(tmp_path.glob("*long*"))
    write_video(frames, tmp_path / "long.mp4", fps=4)


def test_a_video_is_written_from_images_as_they_come(tmp_path: Path) -> None:
    alive = weakref.WeakSet[Tensor]()

    def images() -> Iterator[Tensor]:
        for _ in range(5):
            assert len(alive) <= 1
            image = torch.rand(8, 8, 3)
            alive.add(image)
            yield image
            del image

    write_video(images(), tmp_path / "a.mp4", fps=4)
    assert (tmp_path / "a.mp4").stat().st_size


@pytest.mark.parametrize(("name", "module"), [("x.mp4", "av"), ("x.h5", "h5py")])
def test_what_needs_another_package_says_so(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"pip install wan-lite\["):
        open_video(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({b"mp4v": b"zz9v", b"esds": b"free"}, "its codec is not known"),
        ({b"Lavf": b"\xffavf"}, ""),  # a tag that is not UTF-8 is no reason to refuse the video
    ],
)
def test_what_a_video_says_of_itself_need_not_be_known(changes: dict[bytes, bytes], said: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 16
        container.mux(stream.encode(av.VideoFrame(16, 16, "rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    for old, new in changes.items():
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    if said:
        with pytest.raises(ValueError, match=said):
            open_video(path)
    else:
        assert read_frames(open_video(path), Excerpt()).shape == (1, 3, 16, 16)


def test_an_image_whose_part_claims_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    video = open_video(path)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(ValueError, match=r"a.png: .* \(MemoryError\)"):
        read_frames(video, Excerpt())
