"""``wan-lite decode``: latents to a video file, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import torch
from safetensors.torch import save_file

from wan_lite.cli import main
from wan_lite.models.wan_vae import WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae
from wan_lite.pipeline.pictures.convert import to_uint8
from wan_lite.pipeline.videos.writing import stream_video


@pytest.fixture
def vae_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    vae = WanVAE(WanVAEConfig(dim=8), video=True).requires_grad_(False)
    for p in vae.parameters():
        p.copy_(torch.randn_like(p) * 0.1)
    return save_wan_vae(vae, tmp_path / "vae.safetensors")


def read_video(path: Path) -> torch.Tensor:
    with av.open(str(path)) as container:
        return torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)])


def test_latents_become_a_video(vae_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latents = torch.randn(1, 16, 4, 4, 6)
    save_file({"latent_tensor": latents, "latent_format_version_0": torch.zeros(1)}, tmp_path / "video.latent")
    target = tmp_path / "video.mkv"
    assert main(["decode", str(tmp_path / "video.latent"), "--vae", str(vae_file), "-o", str(target)]) == 0
    assert "13 frames" in capsys.readouterr().out
    whole = load_wan_vae(vae_file).decode_raw(latents)[0].permute(1, 2, 3, 0) / 2 + 0.5
    found = read_video(target)
    assert found.shape == whole.shape
    assert (found.float() - to_uint8(whole).float()).abs().mean() <= 16  # H.264 with colour at half resolution


@pytest.mark.parametrize(
    "tensors, output, sentence",
    [
        ({"latent_tensor": torch.zeros(2, 16, 1, 2, 2)}, "x.mp4", "it must be (1, c, t, h, w)"),
        ({"samples": torch.zeros(1, 16, 1, 2, 2)}, "x.mp4", "holds no tensor latent_tensor"),
        ({"latent_tensor": torch.zeros(1, 48, 2, 2, 2)}, "x.mp4", "the latent has 48 channels"),
        ({"latent_tensor": torch.zeros(1, 16, 2, 2, 2)}, "x.avi", "x.avi: not an ending of a video"),
        ({"latent_tensor": torch.zeros(1, 16, 2, 2, 2)}, "x.gif", "a video is written as .mp4"),
    ],
)
def test_bad_input_is_one_sentence(
    tensors: dict[str, torch.Tensor],
    output: str,
    sentence: str,
    vae_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_file(tensors, tmp_path / "video.latent")
    command = ["decode", str(tmp_path / "video.latent"), "--vae", str(vae_file), "-o", str(tmp_path / output)]
    assert main(command) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / output).exists()


def test_frames_are_written_as_they_come(tmp_path: Path) -> None:
    """No part is asked for before the one before it is written; workflow and prompt are in the header."""
    asked: list[int] = []

    def parts() -> Iterator[torch.Tensor]:
        for i in range(5):
            asked.append(i)
            yield torch.full((2, 15, 17, 4), i / 5)

    path = tmp_path / "video.mp4"
    assert stream_video(parts(), path, 8.0, {"prompt": "{}"}) == 10
    assert asked == [0, 1, 2, 3, 4]
    found = read_video(path)
    assert found.shape == (10, 16, 18, 3)  # sides are even
    assert (found[-1].float() - 204).abs().max() <= 4
    with av.open(str(path)) as container:
        assert container.metadata["prompt"] == "{}"


def test_a_video_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[torch.Tensor]:
        yield torch.zeros(1, 16, 16, 3)
        raise MemoryError("not enough memory")

    with pytest.raises(MemoryError):
        stream_video(parts(), tmp_path / "video.mp4", 8.0)
    assert not list(tmp_path.iterdir())
