"""What kind of model a file holds, told by the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

__all__ = ["ModelKind", "identify_model"]


class ModelKind(Enum):
    """Kinds of models that people give to the wrong loader; the value is what messages call them."""

    LORA = "a LoRA"
    WAN_VIDEO = "the Wan video model (DiT)"
    FLUX = "a Flux model"
    TAEHV = "a tiny video autoencoder (TAEHV: taew2_1, lighttae), which core's Load VAE takes"
    LTX_VAE = "the VAE of LTX-Video"
    COGVIDEO_VAE = "the VAE of CogVideoX"
    HUNYUAN_VAE = "the VAE of Hunyuan Video"
    OTHER_VAE = "a VAE of Stable Diffusion or Flux"
    WAN_VAE = "a Wan VAE"
    STUDENT = "a distilled Wan student"
    TINYWORLDS = "a TinyWorlds checkpoint"
    TEXT_ENCODER = "a text encoder"
    STABLE_DIFFUSION = "a complete Stable Diffusion checkpoint"


# In the order in which they are asked, each with parts of names that only this kind has among those that follow.
_MARKERS = {
    ModelKind.LORA: ("lora_", "lora.", ".lokr", ".hada_"),
    ModelKind.WAN_VIDEO: ("patch_embedding.", "blocks.0.cross_attn", "head.modulation"),
    ModelKind.FLUX: ("double_blocks.", "single_blocks."),
    ModelKind.TAEHV: ("decoder.22.bias", "decoder.22.weight"),
    ModelKind.LTX_VAE: ("decoder.up_blocks.0.res_blocks.", "decoder.conv_in_x_t."),
    ModelKind.COGVIDEO_VAE: ("decoder.mid_block.resnets.0.norm1.norm_layer",),
    ModelKind.HUNYUAN_VAE: ("decoder.conv_in.conv.weight",),
    ModelKind.OTHER_VAE: (
        "encoder.down.0.block",
        "decoder.up.0.block",
        "decoder.mid_block.resnets.0.norm1.weight",
        "decoder.mid.block_1.norm1.weight",
    ),
    ModelKind.WAN_VAE: ("decoder.middle.0.residual", "decoder.mid_block.resnets.0.norm1.gamma"),
    ModelKind.STUDENT: ("blocks.0.attn.in_proj_weight",),
    ModelKind.TINYWORLDS: ("quantizer.basis", "vq.bins", "mask_token"),
    ModelKind.TEXT_ENCODER: ("shared.weight", "encoder.block.0", "token_embedding.weight"),
    ModelKind.STABLE_DIFFUSION: ("model.diffusion_model.",),
}


def identify_model(names: Iterable[str]) -> ModelKind | None:
    """Return the kind of model that has tensors of these names, or None when it is not known."""
    names = list(names)
    found = (kind for kind, parts in _MARKERS.items() if any(part in name for name in names for part in parts))
    return next(found, None)
