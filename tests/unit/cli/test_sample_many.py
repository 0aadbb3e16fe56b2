"""``wan-lite sample`` over seeds, steps and prompts, from images, with LoRA, and where memory is short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from wan_lite.cli import main
from wan_lite.models.student.network import StudentNetwork
from wan_lite.pipeline import generation, text_encoder

VECTORS = Path(__file__).parents[2] / "vectors"
VAE = str(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")
STUDENT = VECTORS / "student_4ch"

Run = Callable[..., int]


@pytest.fixture
def sample(embeds: str) -> Run:
    """Sample the first prompt with two steps of DDIM, or what the further arguments say."""

    def run(out: Path | str, *more: str, source: tuple[str, ...] = ("--embeds", f"{embeds}:0")) -> int:
        words = ["sample", "--student", str(STUDENT), "--vae", VAE, *source, "--out", str(out), "--quiet"]
        return main([*words, *([] if "--sampler" in more else ["--sampler", "ddim"]), *more])

    return run


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# Sweeps --------------------------------------------------------------------------------------------------------------


def test_seeds_and_steps_are_swept_into_named_files_and_a_sheet(sample: Run, tmp_path: Path) -> None:
    out, sheet = tmp_path / "{caption}" / "{steps:02}-{seed}", tmp_path / "sheet.png"
    assert sample(out, "--seeds", "4-6,9", "--steps", "1,2", "--batch", "2", "--sheet", str(sheet)) == 0
    names = {f"{steps:02}-{seed}.png" for steps in (1, 2) for seed in (4, 5, 6, 9)}
    assert {path.name for path in (tmp_path / "a cat red").iterdir()} == names
    alone = tmp_path / "alone.png"
    assert sample(alone, "--seed", "6", "--steps", "2") == 0
    assert np.array_equal(pixels(alone), pixels(tmp_path / "a cat red" / "02-6.png"))
    # a row for each number of steps
    with Image.open(sheet) as image:
        assert image.width > 4 * 256 and 2 * 256 < image.height < image.width


def test_a_pattern_never_writes_over_a_file_and_cleans_what_it_is_made_of(sample: Run, tmp_path: Path) -> None:
    for _ in range(2):
        assert sample(tmp_path / "{caption}_{student}.png", "--steps", "1") == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "a cat red_student_4ch.png",
        "a cat red_student_4ch_00001.png",
    }


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("x.jpg", "images are written as PNG"),
        ("x.WEBP", "images are written as PNG"),
        ("{nothing}.png", "which is not a pattern"),
        ("{seed.real}_{", "which is not a pattern"),
        ("{}.png", "which is not a pattern"),
    ],
)
def test_an_impossible_name_is_refused_before_anything_is_loaded(
    out: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", "--student", "none", "--vae", "none", "--embeds", "none", "--out", str(tmp_path / out)]
    assert main(words) == 2
    assert said in sentence(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "1,x"), "--seeds is '1,x'; give whole numbers and ranges"),
        (("--seeds", "9-4"), "--seeds is '9-4'"),
        (("--seeds", "0-99999999999"), "--seeds is '0-99999999999'"),
        (("--steps", "4,,8"), "--steps is '4,,8'"),
        (("--steps", "0"), "steps is 0"),
        (("--batch", "0"), "batch is 0"),
        (("--seeds", "0-9999", "--steps", "1,2"), "20000 images are asked for"),
        (("--sheet", "s.txt"), "--sheet is 's.txt'"),
        (("--mask", "m.png"), "--mask works on an image; add --image"),
        (("--denoise", "0.5"), "--denoise works on an image; add --image"),
        (("--image", "none.png"), "none.png: there is no such image"),
        (("--eta", "0.5", "--sampler", "flow-unipc"), "which only ddim has"),
        (("--eta", "2"), "eta is 2"),
        (("--lora", "none.safetensors:1"), "none.safetensors: there is no such file"),
    ],
)
def test_impossible_options_are_sentences(
    words: tuple[str, ...], said: str, sample: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(tmp_path / "out", *words) == 2
    assert said in sentence(capsys)
    assert not (tmp_path / "out").exists()


# Prompts from files --------------------------------------------------------------------------------------------------


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts that were given to the text encoder, which answers with rows that their letters decide."""
    calls: list[list[str]] = []

    def encode(source: str, prompts: list[str], **_: object) -> list[Tensor]:
        calls.append(list(prompts))
        seeds = [sum(map(ord, prompt)) for prompt in prompts]
        return [torch.randn(3, 24, generator=torch.Generator().manual_seed(seed)) for seed in seeds]

    monkeypatch.setattr(text_encoder, "encode_prompts", encode)
    return calls


def test_prompts_come_from_a_text_file(sample: Run, tmp_path: Path, encoded: list[list[str]]) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa dog\n\n  ein Kreis, 圆 \n", encoding="utf-8")
    source = ("--prompts", str(file), "--text-encoder", "umt5")
    assert sample(tmp_path / "out" / "{number}_{caption}", "--steps", "1", source=source) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1_a dog.png", "2_ein Kreis, 圆.png"}
    assert encoded == [["a dog", "ein Kreis, 圆"]]


def test_a_table_has_negatives_seeds_and_names(sample: Run, tmp_path: Path, encoded: list[list[str]]) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text('name,prompt,negative,seed\nfirst,"a dog, running",blurred,7\n,a cat,,\n', encoding="utf-8")
    source = ("--prompts", str(file), "--text-encoder", "umt5", "--negative", "bad")
    assert sample(tmp_path / "out" / "{caption}_{seed}", "--steps", "1", "--cfg", "2", source=source) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"first_7.png", "a cat_0.png"}
    assert sorted(encoded[0]) == ["a cat", "a dog, running", "bad", "blurred"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.txt", b"\n \n", "holds no prompt"),
        ("p.txt", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("p.csv", b"text\na dog\n", "has a column 'text'"),
        ("p.csv", b"name,seed\na,1\n", "has no column 'prompt'"),
        ("p.csv", b"prompt,seed\na dog,x\n", "line 2: seed is 'x'"),
        ("p.csv", b"prompt\n", "holds no prompt"),
    ],
)
def test_a_file_of_prompts_that_is_wrong_is_a_sentence(
    name: str, content: bytes, said: str, sample: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    source = ("--prompts", str(tmp_path / name), "--text-encoder", "umt5")
    assert sample(tmp_path / "out", source=source) == 2
    assert said in sentence(capsys)


# Images, LoRA, memory ------------------------------------------------------------------------------------------------


def test_an_image_is_kept_outside_of_the_mask(sample: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latents: list[Tensor] = []
    decode = generation.decode_images

    def remember(student: object, vae: object, latent: Tensor) -> Tensor:
        latents.append(latent)
        return decode(student, vae, latent)

    monkeypatch.setattr(generation, "decode_images", remember)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    photo.save(tmp_path / "photo.jpg")
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[:, 16:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    image, words = ("--image", str(tmp_path / "photo.jpg")), ("--steps", "2", "--denoise", "0.5")
    black = tmp_path / "black.png"
    Image.new("L", (8, 8)).save(black)
    assert sample(tmp_path / "kept.png", *image, *words, "--mask", str(black)) == 0  # nothing is sampled
    assert sample(tmp_path / "half.png", *image, *words, "--mask", str(tmp_path / "mask.png")) == 0
    assert sample(tmp_path / "whole.png", *image, *words) == 0
    assert pixels(tmp_path / "half.png").shape == (32, 32, 3)
    kept, half, whole = latents
    torch.testing.assert_close(half[..., :2], kept[..., :2])
    assert (half[..., 2:] - kept[..., 2:]).abs().min() > 1e-3
    assert not torch.equal(half[..., 2:], whole[..., 2:])


def test_a_lora_changes_the_image_as_far_as_its_strength(
    sample: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "style: a.safetensors"
    weight = torch.randn(2, 4 * 9, generator=torch.Generator().manual_seed(0)).reshape(2, 4, 3, 3)
    save_file({"conv_in.lora_down.weight": weight, "conv_in.lora_up.weight": torch.ones(32, 2, 1, 1)}, file)
    words = ("--steps", "2")
    assert sample(tmp_path / "plain.png", *words) == 0
    for name, argument in (("none", f"{file}:0"), ("one", str(file)), ("twice", f"{file}:2")):
        assert sample(tmp_path / f"{name}.png", *words, "--lora", argument) == 0
    assert "1 weights changed, strength 2" in capsys.readouterr().out
    plain, none, one, twice = (pixels(tmp_path / f"{name}.png") for name in ("plain", "none", "one", "twice"))
    assert np.array_equal(plain, none)
    assert not np.array_equal(plain, one) and not np.array_equal(one, twice)


def test_half_the_batch_is_tried_where_memory_is_short(
    sample: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert sample(tmp_path / "whole", "--batch", "5", "--steps", "2") == 0
    forward = StudentNetwork.forward

    def short(self: StudentNetwork, latent: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        if len(latent) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, latent, timestep, text)

    monkeypatch.setattr(StudentNetwork, "forward", short)
    assert sample(tmp_path / "parts", "--batch", "5", "--steps", "2") == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == names and len(names) == 5
    for name in names:
        apart = pixels(tmp_path / "whole" / name).astype(int) - pixels(tmp_path / "parts" / name)
        assert np.abs(apart).max() <= 1
    assert [record.getMessage() for record in caplog.records] == [
        "not enough memory for 5 at once; trying 3",
        "not enough memory for 3 at once; trying 2",
    ]


def test_offloading_moves_each_network_there_and_back_and_changes_nothing(
    sample: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[tuple[str, str]] = []
    for owner in ("wan_lite.models.student.student.Student", "wan_lite.models.wan_vae.vae.WanVAE"):
        monkeypatch.setattr(
            f"{owner}.to", lambda self, device, *_: (moves.append((type(self).__name__, str(device))), self)[1]
        )
    assert sample(tmp_path / "a.png", "--steps", "1", "--offload") == 0
    assert moves[-4:] == [("Student", "cpu"), ("Student", "cpu"), ("WanVAE", "cpu"), ("WanVAE", "cpu")]
    monkeypatch.undo()
    assert sample(tmp_path / "b.png", "--steps", "1") == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_the_training_preview_rounds_and_everything_else_truncates(
    sample: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan_lite.pipeline.generation.decode_images", lambda *_: torch.full((1, 2, 2, 3), 0.999))
    assert sample(tmp_path / "preview.png", "--contract", "ddim-10 training preview") == 0
    assert sample(tmp_path / "other.png", "--contract", "ddim-20 run_inference") == 0
    assert sample(tmp_path / "more.png", "--contract", "ddim-10 training preview", "--steps", "11") == 0
    assert [pixels(tmp_path / f"{name}.png").max() for name in ("preview", "other", "more")] == [255, 254, 254]


def test_an_overflow_is_an_error_of_its_own_code_and_writes_nothing(
    embeds: str, tmp_path: Path, sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = StudentNetwork.forward
    monkeypatch.setattr(StudentNetwork, "forward", lambda *given: forward(*given) * torch.inf)
    assert sample(tmp_path / "a.png", "--steps", "3") == 1
    assert "the latent is NaN or infinite from step 1 of 3 on" in sentence(capsys)
    assert not (tmp_path / "a.png").exists()
