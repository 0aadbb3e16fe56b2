"""Wan's text encoder from each layout on disk, against the official encoder and against transformers."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan_lite.cli import main
from wan_lite.models import CheckpointError
from wan_lite.pipeline.teacher_folder import TeacherFiles, find_teacher
from wan_lite.pipeline.text_encoder import encode_prompts
from wan_lite.pipeline.umt5_files import open_text_encoder, rename_to_transformers

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

OFFICIAL = Path(__file__).parents[2] / "vectors" / "umt5" / "official.safetensors"
PTH = "models_t5_umt5-xxl-enc-bf16.pth"
WORDS = "a red circle on blue ground"


def official() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in load_file(OFFICIAL).items() if not name.startswith("io.")}


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of six words in ``folder``, as transformers saves one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {word: i + 3 for i, word in enumerate(WORDS.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def spiece() -> Tensor:
    """A SentencePiece model of 16 pieces with umT5's special ids, as ComfyUI's file carries one."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS] * 20), model_writer=model, vocab_size=16, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, model_type="char",
    )  # fmt: skip
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


@pytest.fixture
def wan_folder(tmp_path: Path) -> Path:
    """The official download in small: text encoder, tokenizer and a VAE's name."""
    torch.save(official(), tmp_path / PTH)
    write_tokenizer(tmp_path / "google" / "umt5-xxl")
    (tmp_path / "Wan2.1_VAE.pth").write_bytes(b"not read here")
    return tmp_path


def test_the_official_weights_give_the_official_rows(wan_folder: Path) -> None:
    vector = load_file(OFFICIAL)
    _, encoder = open_text_encoder(wan_folder / PTH, torch.float32)
    with torch.no_grad():
        rows = encoder(input_ids=vector["io.ids"]).last_hidden_state[0]
    assert (rows - vector["io.rows"]).abs().max() <= 1e-5 * vector["io.rows"].abs().max()


def test_folder_and_file_of_the_official_download_are_the_same(wan_folder: Path) -> None:
    (one,) = encode_prompts(wan_folder, ["a red circle"], dtype=torch.float32)
    (two,) = encode_prompts(wan_folder / PTH, ["a red circle"], dtype=torch.float32)
    assert one.shape == (4, 24)
    assert torch.equal(one, two)


def test_comfyui_files_carry_their_tokenizer(tmp_path: Path, spiece: Tensor) -> None:
    weights = rename_to_transformers(official())
    save_file(weights | {"spiece_model": spiece}, tmp_path / "umt5_xxl_fp16.safetensors")
    (rows,) = encode_prompts(tmp_path / "umt5_xxl_fp16.safetensors", ["a red"], dtype=torch.float32)
    ids = sentencepiece.SentencePieceProcessor(model_proto=spiece.numpy().tobytes()).encode("a red")
    config = transformers.UMT5Config(vocab_size=16, d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4)
    encoder = transformers.UMT5EncoderModel(config).eval()
    encoder.load_state_dict(weights | {"encoder.embed_tokens.weight": weights["shared.weight"]})
    with torch.no_grad():
        expected = encoder(input_ids=torch.tensor([[*ids, 1]])).last_hidden_state[0]
    assert (rows - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_scaled_fp8_is_its_weights_times_their_scale(tmp_path: Path, spiece: Tensor) -> None:
    weights = rename_to_transformers(official())
    stored: dict[str, Tensor] = {"spiece_model": spiece, "scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}
    exact = {}
    for name, tensor in weights.items():
        is_scaled = name.endswith((".q.weight", ".wi_0.weight"))
        scale = tensor.abs().max() / 448
        stored[name] = (tensor / scale).to(torch.float8_e4m3fn) if is_scaled else tensor
        exact[name] = stored[name].float() * scale if is_scaled else tensor
        if is_scaled:
            stored[name.removesuffix("weight") + "scale_weight"] = scale
    save_file(stored, tmp_path / "umt5_xxl_fp8_e4m3fn_scaled.safetensors")
    save_file(exact | {"spiece_model": spiece}, tmp_path / "umt5_exact.safetensors")
    (rows,) = encode_prompts(tmp_path / "umt5_xxl_fp8_e4m3fn_scaled.safetensors", ["a red"], dtype=torch.float32)
    (expected,) = encode_prompts(tmp_path / "umt5_exact.safetensors", ["a red"], dtype=torch.float32)
    assert torch.equal(rows, expected)
    assert rows.isfinite().all()


def test_a_long_prompt_is_cut_and_still_ends(tmp_path: Path, spiece: Tensor) -> None:
    save_file(rename_to_transformers(official()) | {"spiece_model": spiece}, tmp_path / "umt5.safetensors")
    tokenize, _ = open_text_encoder(tmp_path / "umt5.safetensors", torch.float32)
    assert tokenize("a " * 600).shape == (1, 512)
    assert tokenize("a " * 600)[0, -1] == 1


def test_what_is_missing_is_named(wan_folder: Path, tmp_path: Path) -> None:
    (wan_folder / "google" / "umt5-xxl").rename(wan_folder / "elsewhere")
    with pytest.raises(ValueError, match="google/umt5-xxl"):
        encode_prompts(wan_folder, ["a"])
    tensors = official()
    del tensors["blocks.1.ffn.fc2.weight"]
    torch.save(tensors, tmp_path / "t5_umt5_cut.pth")
    with pytest.raises(CheckpointError, match=r"DenseReluDense\.wo"):
        open_text_encoder(tmp_path / "t5_umt5_cut.pth", torch.float32)
    save_file({"a": torch.zeros(2)}, tmp_path / "umt5_other.safetensors")
    with pytest.raises(CheckpointError, match="is not a umT5 text encoder"):
        open_text_encoder(tmp_path / "umt5_other.safetensors", torch.float32)
    weights = rename_to_transformers(official()) | {"shared.weight": torch.zeros(16, 24, dtype=torch.int8)}
    save_file(weights, tmp_path / "umt5_int8.safetensors")
    with pytest.raises(CheckpointError, match="quantised"):
        open_text_encoder(tmp_path / "umt5_int8.safetensors", torch.float32)


def test_the_teacher_is_found_in_each_layout(wan_folder: Path, tmp_path: Path) -> None:
    assert find_teacher(wan_folder) == TeacherFiles(wan_folder / "Wan2.1_VAE.pth", wan_folder / PTH)

    diffusers = tmp_path / "diffusers"
    for part in ("vae", "text_encoder", "tokenizer"):
        (diffusers / part).mkdir(parents=True)
        (diffusers / part / "config.json").write_text("{}")
    assert find_teacher(diffusers) == TeacherFiles(diffusers / "vae", diffusers)

    comfyui = tmp_path / "models"
    for name in ("vae/wan_2.1_vae.safetensors", "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors"):
        (comfyui / name).parent.mkdir(parents=True)
        (comfyui / name).touch()
    found = find_teacher(comfyui)
    assert found.vae == comfyui / "vae" / "wan_2.1_vae.safetensors"
    assert found.text_encoder == comfyui / "text_encoders" / "umt5_xxl_fp8_e4m3fn_scaled.safetensors"


def test_a_folder_without_either_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no Wan VAE"):
        find_teacher(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        find_teacher(tmp_path / "none")


def test_the_command_line_needs_only_the_teachers_folder(
    wan_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = Path(__file__).parents[2] / "vectors"
    shutil.copy(vectors / "wan_vae" / "wan21_tiny_official.safetensors", tmp_path / "vae.safetensors")
    torch.save(load_file(tmp_path / "vae.safetensors"), wan_folder / "Wan2.1_VAE.pth")
    arguments = ["sample", "--student", str(vectors / "student_4ch"), "--prompt", "a red circle", "--steps", "2"]
    arguments += ["--sampler", "ddim", "--quiet", "--out", str(tmp_path / "one.png")]
    assert main([*arguments, "--teacher", str(wan_folder)]) == 0
    assert (tmp_path / "one.png").is_file()
    assert main(arguments) != 0
    assert "--teacher FOLDER" in capsys.readouterr().err
