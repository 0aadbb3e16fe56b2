"""Tiny random MODELs built from the host's own classes, and one whose network is a formula."""

import math
from typing import ClassVar

import comfy.conds
import comfy.latent_formats
import comfy.ldm.models.autoencoder
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import torch


def patcher(config, model, seed: int):
    """Random weights in ``model`` (small, so that no network explodes), wrapped as the host wraps a loaded MODEL."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.diffusion_model.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            scale = 1.0 / math.sqrt(fan_in) if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        for name, buffer in model.diffusion_model.named_buffers():
            if name == "pos_embed":  # SD3.5 leaves the memory of this one as it finds it
                buffer.zero_()
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def build(config_class, unet_config: dict, seed: int = 0, **get_model):
    config = config_class(unet_config)
    config.set_inference_dtype(torch.float32, None)
    return patcher(config, config.get_model(get_model.get("state_dict", {})), seed)


def wan(seed: int = 0, text_dim: int = 32):
    """Wan 2.1 text to video: dim 128, 2 layers, text of 32 numbers."""
    sizes = {
        "model_type": "t2v", "dim": 128, "ffn_dim": 64, "freq_dim": 32, "text_dim": text_dim,
        "num_heads": 1, "num_layers": 2,
    }  # fmt: skip
    return build(comfy.supported_models.WAN21_T2V, sizes, seed)


def wan22(seed: int = 0, text_dim: int = 32):
    """Wan 2.2 TI2V-5B: 48 channels, dim 128, 2 layers, text of 32 numbers."""
    sizes = {
        "model_type": "t2v", "dim": 128, "ffn_dim": 64, "freq_dim": 32, "text_dim": text_dim,
        "num_heads": 1, "num_layers": 2,
        "in_dim": 48, "out_dim": 48,
    }  # fmt: skip
    return build(comfy.supported_models.WAN22_T2V, sizes, seed)


def wan_i2v(seed: int = 0, text_dim: int = 32, *, sees_image: bool = True):
    """Image to video with the sizes of :func:`wan`: Wan 2.1's network, which also sees the image, or Wan 2.2's."""
    sizes = {
        "model_type": "i2v" if sees_image else "t2v", "dim": 128, "ffn_dim": 64, "freq_dim": 32, "text_dim": text_dim,
        "num_heads": 1, "num_layers": 2, "in_dim": 36, "out_dim": 16,
    }  # fmt: skip
    return build(comfy.supported_models.WAN21_I2V if sees_image else comfy.supported_models.WAN21_T2V, sizes, seed)


def causal_wan(seed: int = 0, text_dim: int = 32):
    """Core's autoregressive Wan 2.1, of the sizes of :func:`wan`."""
    sizes = {
        "model_type": "t2v", "dim": 128, "ffn_dim": 64, "freq_dim": 32, "text_dim": text_dim, "num_heads": 1,
        "num_layers": 2, "causal_ar": True,
    }  # fmt: skip
    return build(comfy.supported_models.WAN21_CausalAR_T2V, sizes, seed)


def qwen_image(seed: int = 0):
    """Qwen-Image: one head of 128, 1 layer, text of 32 numbers."""
    sizes = {"num_layers": 1, "num_attention_heads": 1, "joint_attention_dim": 32}
    return build(comfy.supported_models.QwenImage, sizes, seed)


def vae(channels: int):
    """A small VAE of Stable Diffusion's architecture with random weights, in the host's own wrapper."""
    sizes = {
        "double_z": True, "z_channels": channels, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32,
        "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    network = comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=sizes, embed_dim=channels)
    state = {name: torch.randn(value.shape, generator=generator) * 0.1 for name, value in network.state_dict().items()}
    return comfy.sd.VAE(sd=state, config={"params": {"ddconfig": sizes, "embed_dim": channels}})


def flux(seed: int = 0):
    sizes = {
        "in_channels": 16, "out_channels": 16, "vec_in_dim": 16, "context_in_dim": 32, "hidden_size": 64,
        "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 12, 12], "theta": 10000,
        "patch_size": 2, "qkv_bias": True, "guidance_embed": False, "txt_ids_dims": [],
    }  # fmt: skip
    return build(comfy.supported_models.Flux, sizes, seed)


def sd35(seed: int = 0):
    sizes = {
        "input_size": None, "in_channels": 16, "depth": 1, "adm_in_channels": 16, "pos_embed_max_size": 16,
        "num_patches": 256, "pos_embed_scaling_factor": None, "context_size": 64, "qk_norm": "rms",
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": 64}},
    }  # fmt: skip
    return build(comfy.supported_models.SD3, sizes, seed)


def sdxl(seed: int = 0, v_prediction: bool = False):
    sizes = {
        "image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1],
        "channel_mult": [1, 2], "transformer_depth": [0, 1], "transformer_depth_output": [0, 0, 1, 1],
        "transformer_depth_middle": 1, "context_dim": 32, "adm_in_channels": 2816, "num_classes": "sequential",
        "use_spatial_transformer": True, "use_linear_in_transformer": True, "use_temporal_attention": False,
        "legacy": False,
    }  # fmt: skip
    state = {"v_pred": torch.zeros(0)} if v_prediction else {}
    return build(comfy.supported_models.SDXL, sizes, seed, state_dict=state)


class FormulaNetwork(torch.nn.Module):
    """The network of the sampler vectors: tanh(x) c + 0.1 x with c = cos(t / 1000), plus the text's mean.

    It records every timestep and every input it sees, so that a test can say what the network was fed.
    """

    def __init__(self, dtype=None, device=None, operations=None) -> None:
        super().__init__()
        self.dtype = dtype
        self.unused = torch.nn.Parameter(torch.zeros(1, dtype=dtype, device=device))
        self.seen: list[torch.Tensor] = []

    def forward(self, x, timestep, context=None, control=None, transformer_options=None, **_):
        self.seen.append(timestep.clone())
        c = torch.cos(timestep.double() / 1000.0).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        text = 0.0 if context is None else context.mean(dim=(1, 2)).reshape(-1, *[1] * (x.ndim - 1))
        return torch.tanh(x) * c + 0.1 * x + text


class FormulaConfig(comfy.supported_models_base.BASE):
    unet_config: ClassVar[dict] = {}
    unet_extra_config: ClassVar[dict] = {}
    latent_format = comfy.latent_formats.LatentFormat
    sampling_settings: ClassVar[dict] = {}
    memory_usage_factor = 0.1
    supported_inference_dtypes: ClassVar[list] = [torch.float32]


class FormulaModel(comfy.model_base.BaseModel):
    def __init__(self, config, model_type) -> None:
        super().__init__(config, model_type, device=torch.device("cpu"), unet_model=FormulaNetwork)

    def extra_conds(self, **kwargs):
        out = super().extra_conds(**kwargs)
        out["c_crossattn"] = comfy.conds.CONDRegular(kwargs["cross_attn"])
        return out


def formula(kind: str = "FLOW", channels: int = 4, dimensions: int = 2):
    """A MODEL of :class:`FormulaNetwork`, with an identity latent format; ``kind`` is a ModelType of the host."""
    config = FormulaConfig({})
    config.latent_format.latent_channels = channels
    config.latent_format.latent_dimensions = dimensions
    config.latent_format.scale_factor = 1.0
    config.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    model = FormulaModel(config, comfy.model_base.ModelType[kind])
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def text(rows: int = 3, width: int = 32, seed: int = 0, scale: float = 1.0, pooled: int | None = None) -> list:
    """A CONDITIONING of random rows."""
    generator = torch.Generator().manual_seed(seed)
    extra = {} if pooled is None else {"pooled_output": torch.randn(1, pooled, generator=generator)}
    return [[scale * torch.randn(1, rows, width, generator=generator), extra]]
