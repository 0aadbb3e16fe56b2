"""Wan's text encoder on disk: umT5 in each layout that users have, opened as transformers' own model.

Layouts: a folder as transformers or diffusers saves it; the official ``models_t5_umt5-xxl-enc-bf16.pth`` with the
tokenizer folder ``google/umt5-xxl`` beside it; ComfyUI's single file, which carries its tokenizer as a tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.checkpoint import CheckpointError, read_tensors

__all__ = ["MAX_TOKENS", "Tokenize", "is_text_encoder_file", "open_text_encoder"]

MAX_TOKENS = 512
OFFICIAL_TOKENIZER = Path("google") / "umt5-xxl"
_END = 1  # id of </s>
_SPIECE = "spiece_model"
_BUCKETS_KEY = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
_WRONG_FILE = "a umT5 text encoder: the official models_t5_umt5-xxl-enc-bf16.pth or ComfyUI's umt5_xxl safetensors"
_OFFICIAL = (
    (r"^token_embedding\.", "shared."),
    (r"^norm\.", "encoder.final_layer_norm."),
    (r"^blocks\.(\d+)\.norm1\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^blocks\.(\d+)\.attn\.([qkvo])\.", r"encoder.block.\1.layer.0.SelfAttention.\2."),
    (
        r"^blocks\.(\d+)\.pos_embedding\.embedding\.",
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.",
    ),
    (r"^blocks\.(\d+)\.norm2\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^blocks\.(\d+)\.ffn\.gate\.0\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^blocks\.(\d+)\.ffn\.fc1\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^blocks\.(\d+)\.ffn\.fc2\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
)
"""Official names of tensors (Wan2.2 at 42bf4cf, ``wan/modules/t5.py``) and those of transformers."""

Tokenize = Callable[[str], Tensor]
"""Turns a clean prompt into ids (1, l), ``</s>`` included, at most :data:`MAX_TOKENS`."""


def open_text_encoder(path: Path, dtype: torch.dtype) -> tuple[Tokenize, Any]:
    """Open a text encoder in any layout.

    Args:
        path: A folder as transformers or diffusers saves it, an official Wan folder, or one of the two single files.
        dtype: Of the encoder's weights and arithmetic.

    Returns:
        The tokenizer as a function, and transformers' ``UMT5EncoderModel`` in evaluation mode.

    Raises:
        ValueError: There is no such file or folder, it is another model, or a package is missing.
    """
    if path.is_file():
        return _open_file(path, dtype)
    if not path.is_dir():
        raise ValueError(
            f"text encoder {path}: is not a folder or a file; give a umT5 folder as transformers saves it "
            f"(config.json, weights, tokenizer), an official Wan folder, or {_WRONG_FILE}."
        )
    official = sorted(file for file in path.glob("*t5*") if is_text_encoder_file(file) and file.is_file())
    if official and not (path / "config.json").is_file() and not (path / "text_encoder").is_dir():
        return _open_file(official[0], dtype)
    return _open_folder(path, dtype)


def is_text_encoder_file(path: Path) -> bool:
    """Tell by name whether a file is umT5 as Wan's folder (``.pth``) or ComfyUI (``.safetensors``) has it."""
    return path.suffix in (".pth", ".safetensors") and "umt5" in path.name.lower()


def _open_file(path: Path, dtype: torch.dtype) -> tuple[Tokenize, Any]:
    tensors = read_tensors(path)
    spiece = tensors.pop(_SPIECE, None)
    weights = rename_to_transformers(dequantise(tensors, dtype))
    encoder = _build_encoder(path, weights)
    return (_tokenize_with(path, spiece) if spiece is not None else _open_tokenizer_beside(path)), encoder


def rename_to_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the official file's tensors transformers' names; names that are those already stay."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _OFFICIAL:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def dequantise(tensors: MutableMapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Cast weights to ``dtype``, multiplying those stored in 8 bits by the scale that lies beside them.

    The entries of ``tensors`` are taken out one by one, so that both copies are never held whole.

    Raises:
        CheckpointError: Weights are quantised in another way than a byte for each number with one scale.
    """
    scales = {
        name.removesuffix(ending) + ".weight": tensors.pop(name).float()
        for ending in (".scale_weight", ".weight_scale")
        for name in [key for key in tensors if key.endswith(ending)]
    }
    for name in [key for key in tensors if key.endswith(("scaled_fp8", ".scale_input", ".input_scale"))]:
        del tensors[name]
    odd = next((key for key, tensor in tensors.items() if not tensor.is_floating_point()), None)
    if odd is not None:
        raise CheckpointError(
            f"text encoder: {odd} is quantised in a way that is not supported; take the fp16, bf16 or fp8_scaled file."
        )
    return {
        name: (tensors.pop(name).float() * scales[name] if name in scales else tensors.pop(name)).to(dtype)
        for name in list(tensors)
    }


def _build_encoder(path: Path, weights: dict[str, Tensor]) -> Any:
    """Make transformers' model from weights under its own names; its sizes are those of the tensors."""
    transformers = import_transformers()
    weights.pop("encoder.embed_tokens.weight", None)  # the same tensor as shared.weight
    layers = {int(match[1]) for name in weights if (match := re.match(r"encoder\.block\.(\d+)\.", name))}
    needed = ("shared.weight", _BUCKETS_KEY, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight")
    if any(name not in weights or weights[name].ndim != 2 for name in needed) or not layers:
        raise CheckpointError(f"{path.name}: is not {_WRONG_FILE}.")
    (vocabulary, width), (buckets, heads) = weights[needed[0]].shape, weights[needed[1]].shape
    query = weights.get("encoder.block.0.layer.0.SelfAttention.q.weight")
    config = transformers.UMT5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=0 if query is None else query.shape[0] // heads,
        d_ff=weights[needed[2]].shape[0],
        num_layers=len(layers),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        encoder = transformers.UMT5EncoderModel(config)
    try:
        left = encoder.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path.name}: is not {_WRONG_FILE} ({str(error).splitlines()[-1].strip()}).") from error
    missing = [name for name in left.missing_keys if name != "encoder.embed_tokens.weight"]
    if missing or left.unexpected_keys:
        names = ", ".join([*missing, *left.unexpected_keys][:3])
        raise CheckpointError(f"{path.name}: is not {_WRONG_FILE}: missing or unexpected {names}.")
    encoder.encoder.embed_tokens.weight = encoder.shared.weight
    return encoder.eval()


def _tokenize_with(path: Path, spiece: Tensor) -> Tokenize:
    """Tokenise with the SentencePiece model that ComfyUI's file carries."""
    try:
        import sentencepiece
    except ImportError as error:
        raise _make_missing_error("sentencepiece") from error
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=spiece.numpy().tobytes())
    except RuntimeError as error:
        raise CheckpointError(
            f"{path.name}: the tokenizer in it ({_SPIECE}) cannot be read; download it again."
        ) from error
    return lambda prompt: torch.tensor([[*model.encode(prompt)[: MAX_TOKENS - 1], _END]])


def _open_tokenizer_beside(path: Path) -> Tokenize:
    """Open the tokenizer folder beside the official file, where Wan's downloads have it."""
    folder = path.parent / OFFICIAL_TOKENIZER
    if not folder.is_dir():
        raise ValueError(
            f"text encoder {path.name}: its tokenizer is missing; put the folder {OFFICIAL_TOKENIZER.as_posix()} of "
            "the Wan download beside it."
        )
    return _tokenize_by(import_transformers().AutoTokenizer.from_pretrained(folder, local_files_only=True))


def _tokenize_by(tokenizer: Any) -> Tokenize:
    def tokenize(prompt: str) -> Tensor:
        ids: Tensor = tokenizer(prompt, truncation=True, max_length=MAX_TOKENS, return_tensors="pt").input_ids
        return ids

    return tokenize


def _open_folder(folder: Path, dtype: torch.dtype) -> tuple[Tokenize, Any]:
    transformers = import_transformers()
    split = (folder / "text_encoder").is_dir()
    encoder_folder, tokenizer_folder = (folder / "text_encoder", folder / "tokenizer") if split else (folder, folder)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
        kind = transformers.AutoConfig.from_pretrained(encoder_folder, local_files_only=True).model_type
        encoder, found = transformers.UMT5EncoderModel.from_pretrained(
            encoder_folder, local_files_only=True, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise _make_unreadable_error(folder, " ".join(str(error).split())[:200]) from error
    # transformers fills what a file lacks with random numbers and only warns.
    if kind != "umt5" or found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise _make_unreadable_error(folder, f"model_type is {kind}" + (f", without {missing}" if missing else ""))
    return _tokenize_by(tokenizer), encoder.eval()


def import_transformers() -> Any:
    """Import transformers, or say how to install it."""
    try:
        import transformers
    except ImportError as error:
        raise _make_missing_error("transformers") from error
    return transformers


def _make_missing_error(package: str) -> ValueError:
    return ValueError(
        f"the text encoder needs the package {package}, which is not installed: `pip install wan-lite[text]`, "
        "or use a file of text embeddings instead."
    )


def _make_unreadable_error(folder: Path, reason: str) -> ValueError:
    return ValueError(
        f"text encoder {folder}: cannot be read as a Hugging Face umT5 folder ({reason}); it needs config.json with "
        "model_type umt5, the encoder's weights and the tokenizer's files."
    )
