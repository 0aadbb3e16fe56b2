"""Prompts through a tiny umT5 of random weights, saved as transformers saves the real one."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path

import pytest
import torch

from wan_lite.cli import main
from wan_lite.pipeline.text_encoder import clean_prompt, encode_prompts

transformers = pytest.importorskip("transformers")

WORDS = ["a", "red", "circle", "on", "blue", "ground"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    path = tmp_path_factory.mktemp("umt5")
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {word: index + 3 for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.UMT5Config(vocab_size=16, d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4)
    transformers.UMT5EncoderModel(config).save_pretrained(path)
    return path


def test_rows_are_the_prompts_own_tokens_with_the_end(folder: Path) -> None:
    rows = encode_prompts(folder, ["a red circle", "a  red\ncircle on blue ground"], dtype=torch.float32)
    assert [tuple(r.shape) for r in rows] == [(4, 24), (7, 24)]


def test_rows_equal_a_padded_run_cut_to_the_mask(folder: Path) -> None:
    """The official code pads to 512, masks, and keeps the first rows; encoding alone is the same without the waste."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = transformers.UMT5EncoderModel.from_pretrained(folder).eval()
    padded = tokenizer(["a red circle"], padding="max_length", max_length=512, return_tensors="pt")
    with torch.no_grad():
        expected = encoder(**{k: padded[k] for k in ("input_ids", "attention_mask")}).last_hidden_state[0, :4]
    (rows,) = encode_prompts(folder, ["a red circle"], dtype=torch.float32)
    assert (rows - expected).abs().max() <= 1e-5


def test_a_diffusers_folder_has_two_parts(folder: Path, tmp_path: Path) -> None:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(folder, tmp_path / part)
    (one,), (two,) = encode_prompts(folder, ["a circle"]), encode_prompts(tmp_path, ["a circle"])
    assert torch.equal(one, two)
    assert one.dtype == torch.bfloat16


def test_the_command_line_paints_words(folder: Path, tmp_path: Path) -> None:
    vectors = Path(__file__).parents[2] / "vectors"
    vae = str(vectors / "wan_vae" / "wan21_tiny_official.safetensors")
    arguments = ["sample", "--student", str(vectors / "student_4ch"), "--vae", vae, "--text-encoder", str(folder)]
    words = ["--prompt", "a red circle", "--prompt", "a blue ground", "--negative", "on", "--cfg", "2"]
    assert main([*arguments, *words, "--sampler", "ddim", "--steps", "2", "--quiet", "--out", str(tmp_path)]) == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["student_4ch_00001.png", "student_4ch_00002.png"]


def test_a_long_prompt_is_cut_at_512_tokens(folder: Path) -> None:
    (rows,) = encode_prompts(folder, ["red " * 600])
    assert rows.shape == (512, 24)


@pytest.mark.parametrize(
    ("prompt", "clean"),
    [("  a \n\t cat ", "a cat"), ("salt &amp; pepper", "salt & pepper"), ("&amp;lt;b&amp;gt;", "<b>"), ("", "")],
)
def test_prompts_are_cleaned_as_wan_does(prompt: str, clean: str) -> None:
    assert clean_prompt(prompt) == clean


def test_a_wrong_folder_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        encode_prompts(tmp_path / "none", ["a"])
    with pytest.raises(ValueError, match="cannot be read as a Hugging Face umT5 folder"):
        encode_prompts(tmp_path, ["a"])
    with pytest.raises(ValueError, match="prompts is empty"):
        encode_prompts(folder, [])


def test_another_model_is_not_filled_with_random_numbers(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "t5")
    config = json.loads((tmp_path / "t5" / "config.json").read_text())
    (tmp_path / "t5" / "config.json").write_text(json.dumps(config | {"num_layers": 3}))
    with pytest.raises(ValueError, match=r"without encoder\.block"):
        encode_prompts(tmp_path / "t5", ["a"])


def test_without_transformers_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: object, **named: object) -> object:
        if name == "transformers":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ValueError, match=r"pip install wan-lite\[text\]"):
        encode_prompts(folder, ["a"])
