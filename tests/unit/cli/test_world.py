"""``wan-lite rollout`` and ``wan-lite diagnose``, on tiny worlds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan_lite.cli import main
from wan_lite.models.world import find_checkpoints, load_world
from wan_lite.pipeline import similarity
from wan_lite.pipeline.pictures.convert import bytes_to_signed, to_uint8
from wan_lite.pipeline.videos import reading
from wan_lite.pipeline.videos.reading import Excerpt, open_video, read_frames
from wan_lite.pipeline.videos.writing import write_video

HERE = Path(__file__).parents[2] / "vectors" / "tinyworlds"
WORLD = HERE / "current" / "checkpoints_current"


@pytest.fixture(scope="module")
def truth() -> Tensor:
    return load_file(HERE / "current" / "rollout.io.safetensors")["ground_truth_frames"][0, :6]


@pytest.fixture
def clip(tmp_path: Path, truth: Tensor) -> str:
    write_video(truth.permute(0, 2, 3, 1) / 2 + 0.5, tmp_path / "true.webp", fps=4)
    return str(tmp_path / "true.webp")


def run(*words: str | Path) -> int:
    return main([*map(str, words), "--quiet"])


@pytest.mark.parametrize("ending, frames", [("gif", 6), ("webp", 6), ("png", 6)])
def test_rollout_writes_an_animation(
    tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str], ending: str, frames: int
) -> None:
    out = tmp_path / "deep" / f"r.{ending}"
    assert run("rollout", "--world", WORLD, "--clip", clip, "--steps", "4", "--actions", "0,1x2", "--out", out) == 0
    with Image.open(out) as image:
        assert image.n_frames == frames and image.size == (128, 128)
    assert "actions: 0, 1, 1, 1" in capsys.readouterr().out


def test_rollout_of_three_files_with_everything_shown(tmp_path: Path, clip: str) -> None:
    stages, out, sheet = find_checkpoints(WORLD), tmp_path / "r.gif", tmp_path / "sheet.png"
    files = ["--tokenizer", stages["tokenizer"], "--action-model", stages["latent_actions"]]
    words = ["--dynamics", stages["dynamics"], "--clip", clip, "--batch", "2", "--overlay", "--scale", "2"]
    assert run("rollout", *files, *words, "--steps", "2", "--out", out, "--sheet", sheet) == 0
    with Image.open(out) as image:
        assert image.size == (2 * 64 + 2, 64 + 14)
    assert sheet.exists()


def test_rollout_as_video(tmp_path: Path, clip: str) -> None:
    pytest.importorskip("av")
    out = tmp_path / "r.mp4"
    assert run("rollout", "--world", WORLD, "--clip", clip, "--steps", "3", "--out", out, "--scale", "3") == 0
    video = open_video(out)
    assert (video.size, video.count) == ((96, 96), 5)


def test_actions_of_the_clip(tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--world", WORLD, "--clip", clip, "--steps", "3", "--out", tmp_path / "r.gif"]
    assert run("rollout", *words, "--actions", "infer") == 0
    assert capsys.readouterr().out.count(",") == 2
    assert run("rollout", *words, "--actions", "infer", "--frames", "2") == 2


def test_diagnose(tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d"
    assert run("diagnose", "--world", WORLD, "--clip", clip, "--out", out) == 0
    assert (out / "report.txt").read_text() in capsys.readouterr().out + "\n"
    assert (out / "drift.png").exists() and (out / "frames.png").exists()


def test_another_frame_size_is_refused_or_resized(
    tmp_path: Path, truth: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.webp"
    write_video(truth.permute(0, 2, 3, 1).repeat_interleave(2, 1).repeat_interleave(2, 2) / 2 + 0.5, large, fps=4)
    words = ["rollout", "--world", WORLD, "--clip", large, "--steps", "1", "--out", tmp_path / "r.gif"]
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "64x64" in said and "32x32" in said and "--resize" in said
    assert run(*words, "--resize") == 0


def test_convert_to_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, single, stages = tmp_path / "a.safetensors", tmp_path / "b.safetensors", find_checkpoints(WORLD)
    assert main(["convert", str(WORLD), str(whole), "--layout", "world"]) == 0
    assert "32x32 frames" in capsys.readouterr().out
    files = ["--dynamics", str(stages["dynamics"]), "--action-model", str(stages["latent_actions"])]
    assert main(["convert", str(stages["tokenizer"]), str(single), "--layout", "world", *files]) == 0
    assert load_world(whole).state_dict().keys() == load_world(single).state_dict().keys()
    assert main(["convert", str(WORLD), str(tmp_path / "a.pth"), "--layout", "world"]) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--fps", "0"], "fps is 0.0; allowed"), (["--out", "a.xyz"], "a.xyz: not an ending of a video"),
        (["--scale", "0"], "--scale is 0"), (["--sheet", "s.xyz"], "--sheet is 's.xyz'"),
        (["--start", "-1"], "start is -1"), (["--every", "0"], "every is 0"), (["--frames", "0"], "frames is 0"),
        (["--steps", "0"], "steps: 0 given"), (["--steps", "99999999999"], "from 1 to 100000"),
        (["--batch", "0"], "batch: 0 given"), (["--temperature", "nan"], "temperature: nan given"),
        (["--schedule-k", "inf"], "schedule_k: inf given"), (["--action-guidance", "nan"], "action_guidance: nan"),
        (["--latent-noise", "inf"], "latent_noise: inf"), (["--actions", "0x99999999999"], "more than 100000"),
        (["--tokenizer", "a.pth"], "give one or the other"), (["--world", "absent"], "absent: there is no such file"),
    ],
)  # fmt: skip
def test_impossible_options(
    tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    out = tmp_path / "r.webp"
    assert run("rollout", "--world", WORLD, "--clip", clip, "--steps", "1", "--out", out, *words) == 2
    said = capsys.readouterr().err.strip()
    assert expected in said and "\n" not in said
    assert not out.exists()


def test_huge_seeds(tmp_path: Path, clip: str) -> None:
    seed = str(10**40)
    assert (
        run("rollout", "--world", WORLD, "--clip", clip, "--steps", "1", "--seed", seed, "--out", tmp_path / "r.gif")
        == 0
    )
    assert run("diagnose", "--world", WORLD, "--clip", clip, "--seed", seed, "--out", tmp_path / "d") == 0


def test_a_damaged_clip(tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path(clip).read_bytes()
    for name, content in (("cut.webp", whole[: len(whole) // 2]), ("none.gif", b""), ("text.png", b"no picture")):
        (tmp_path / name).write_bytes(content)
        words = ["--clip", tmp_path / name, "--steps", "1", "--out", tmp_path / "r.gif"]
        assert run("rollout", "--world", WORLD, *words) == 2
        assert f"{name}: is not an image" in capsys.readouterr().err


def test_options_of_worlds_are_refused_for_vaes_and_the_reverse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "w.safetensors")
    vae = str(HERE.parent / "wan_vae" / "wan21_tiny_official.safetensors")
    assert main(["convert", vae, target, "--layout", "official", "--dynamics", "a"]) == 2
    assert "belong to --layout world" in capsys.readouterr().err
    assert main(["convert", str(WORLD), target, "--layout", "world", "--action-model", "a"]) == 2
    assert "--action-model needs --dynamics" in capsys.readouterr().err
    assert main(["convert", str(WORLD), target, "--layout", "world", "--precision", "bf16"]) == 0
    assert load_file(target)["dynamics.output_mlp.weight"].dtype == torch.bfloat16


def test_only_the_context_of_a_video_is_decoded(tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = reading._decode_image

    def counted(path: Path, start: int, every: int) -> Iterator[np.ndarray]:
        for frame in decode(path, start, every):
            decoded.append(len(decoded))
            yield frame

    monkeypatch.setattr(reading, "_decode_image", counted)
    words = ["rollout", "--world", WORLD, "--clip", clip, "--steps", "1", "--out", tmp_path / "r.gif"]
    assert run(*words) == 0
    assert len(decoded) == 2
    assert run(*words, "--actions", "infer") == 0
    assert len(decoded) == 2 + 6


def test_a_video_of_several_in_a_file(tmp_path: Path, truth: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    frames = to_uint8(truth.permute(0, 2, 3, 1) / 2 + 0.5)
    save_file({"frames": torch.stack([frames, frames.flip(0)])}, tmp_path / "two.safetensors")
    words = ["rollout", "--world", WORLD, "--steps", "1", "--scale", "1", "--out", tmp_path / "r.png"]
    assert run(*words, "--clip", f"{tmp_path}/two.safetensors:1") == 0
    first = read_frames(open_video(tmp_path / "r.png"), Excerpt(limit=1))[0]
    assert torch.equal(first, bytes_to_signed(frames[-1]).permute(2, 0, 1))
    assert run(*words, "--clip", f"{tmp_path}/two.safetensors:2") == 2
    assert "has no video 2" in capsys.readouterr().err
    assert run(*words, "--clip", f"{tmp_path}/two.safetensors:x") == 2


def test_tests_over_a_video_have_means_and_standard_deviations(
    tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["diagnose", "--world", WORLD, "--clip", clip, "--out", tmp_path / "d"]
    assert run(*words, "--tests", "3") == 0
    lines = (tmp_path / "d" / "report.txt").read_text().splitlines()
    at = lines.index("means over the frames of 3 video(s), and standard deviation:")
    assert [line.split()[0] for line in lines[at + 1 : at + 5]] == ["PSNR", "+-", "SSIM", "+-"]
    for line in lines[at + 3 : at + 5]:
        assert all(0 <= float(value) <= 1 for value in line.split()[1:])
    # one test is one excerpt of four frames, of which two are predicted
    assert run(*words, "--tests", "1", "--start", "2") == 0
    report = (tmp_path / "d" / "report.txt").read_text()
    assert "means over the frames of 1 video(s):" in report and "+-" not in report
    capsys.readouterr()
    assert run(*words, "--tests", "3", "--frames", "7") == 2
    assert "too few for a test of 7" in capsys.readouterr().err
    assert run(*words, "--tests", "0") == 2


def test_without_its_library_a_measure_is_left_out_and_said(
    tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "has_ssim", lambda: False)
    assert run("diagnose", "--world", WORLD, "--clip", clip, "--out", tmp_path / "d") == 0
    assert "SSIM: not measured" in (tmp_path / "d" / "report.txt").read_text()
