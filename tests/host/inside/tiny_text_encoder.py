"""A umT5 of the host's own classes, as wide as the vectors' students read text, with a vocabulary of a few words."""

import io

import comfy.sd
import comfy.text_encoders.wan
import sentencepiece
import torch

WIDTH = 24
WORDS = "a small red boat on the blue sea under an old green bridge with two white birds and one big black dog"


def vocabulary() -> torch.Tensor:
    """A SentencePiece model as the tensor that text encoder files carry it in."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS] * 4), model_writer=model, vocab_size=60, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def clip(width: int = WIDTH) -> comfy.sd.CLIP:
    """A CLIP of the host with random weights, its embeddings ``width`` numbers wide (a multiple of two)."""

    class Target:
        params: dict = {}  # noqa: RUF012
        clip = comfy.text_encoders.wan.te(dtype_t5=torch.float32)
        tokenizer = comfy.text_encoders.wan.WanT5Tokenizer

    sizes = {
        "d_model": width, "d_ff": 32, "d_kv": width // 2, "num_heads": 2, "num_layers": 2, "vocab_size": 128,
        "model_type": "umt5", "is_gated_act": True, "dense_act_fn": "gelu_pytorch_tanh", "eos_token_id": 1,
        "pad_token_id": 0, "relative_attention_num_buckets": 32, "layer_norm_epsilon": 1e-6,
    }  # fmt: skip
    made = comfy.sd.CLIP(
        Target, tokenizer_data={"spiece_model": vocabulary()}, model_options={"umt5xxl_model_config": sizes}
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.cond_stage_model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made
