"""What the plans share: downloads, prompts, and the boxes that come again and again."""

from __future__ import annotations

from build_workflows import Box

_HUB = "https://huggingface.co"
_WAN21 = f"{_HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
_WAN22 = f"{_HUB}/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
_KIJAI = f"{_HUB}/Kijai/WanVideo_comfy/resolve/main"
_QWEN = f"{_HUB}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files"

UMT5 = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
MODELS = {
    UMT5: (f"{_WAN21}/text_encoders/{UMT5}", "text_encoders"),
    "wan2.1_t2v_1.3B_fp16.safetensors": (
        f"{_WAN21}/diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors", "diffusion_models",
    ),
    "wan2.2_ti2v_5B_fp16.safetensors": (
        f"{_WAN22}/diffusion_models/wan2.2_ti2v_5B_fp16.safetensors", "diffusion_models",
    ),
    **{
        f"wan2.2_t2v_{noise}_noise_14B_fp8_scaled.safetensors": (
            f"{_WAN22}/diffusion_models/wan2.2_t2v_{noise}_noise_14B_fp8_scaled.safetensors", "diffusion_models",
        )
        for noise in ("high", "low")
    },
    "wan_2.1_vae.safetensors": (f"{_WAN22}/vae/wan_2.1_vae.safetensors", "vae"),
    "wan2.2_vae.safetensors": (f"{_WAN22}/vae/wan2.2_vae.safetensors", "vae"),
    "qwen_image_fp8_e4m3fn.safetensors": (
        f"{_QWEN}/diffusion_models/qwen_image_fp8_e4m3fn.safetensors", "diffusion_models",
    ),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": (
        f"{_QWEN}/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders",
    ),
    "qwen_image_vae.safetensors": (f"{_QWEN}/vae/qwen_image_vae.safetensors", "vae"),
    "sd_xl_base_1.0.safetensors": (
        f"{_HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors", "checkpoints",
    ),
    "sd3.5_large_fp8_scaled.safetensors": (
        f"{_HUB}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/sd3.5_large_fp8_scaled.safetensors", "checkpoints",
    ),
    "flux1-schnell-fp8.safetensors": (
        f"{_HUB}/Comfy-Org/flux1-schnell/resolve/main/flux1-schnell-fp8.safetensors", "checkpoints",
    ),
    "wan2.1_t2v_14B_fp8_scaled.safetensors": (
        f"{_WAN21}/diffusion_models/wan2.1_t2v_14B_fp8_scaled.safetensors", "diffusion_models",
    ),
    "wan2.1_i2v_480p_14B_fp16.safetensors": (
        f"{_WAN21}/diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors", "diffusion_models",
    ),
    "clip_vision_h.safetensors": (f"{_WAN21}/clip_vision/clip_vision_h.safetensors", "clip_vision"),
    "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors": (
        f"{_KIJAI}/Lightx2v/lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors", "loras",
    ),
    "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors": (
        f"{_KIJAI}/Lightx2v/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", "loras",
    ),
    "Wan_2_1_T2V_14B_480p_rCM_lora_average_rank_83_bf16.safetensors": (
        f"{_KIJAI}/LoRAs/rCM/Wan_2_1_T2V_14B_480p_rCM_lora_average_rank_83_bf16.safetensors", "loras",
    ),
    "Wan2_2-TI2V-5B-FastWanFullAttn_bf16.safetensors": (
        f"{_KIJAI}/FastWan/Wan2_2-TI2V-5B-FastWanFullAttn_bf16.safetensors", "diffusion_models",
    ),
    "causal_forcing-framewise.safetensors": (
        f"{_HUB}/TalmajM/causal_forcing_framewise_ComfyUI_repackaged/resolve/main/split_files/diffusion_models/"
        "causal_forcing-framewise.safetensors", "diffusion_models",
    ),
    "Qwen-Image-Lightning-4steps-V1.0.safetensors": (
        f"{_HUB}/lightx2v/Qwen-Image-Lightning/resolve/main/Qwen-Image-Lightning-4steps-V1.0.safetensors", "loras",
    ),
    **{
        name: (f"{_WAN22}/diffusion_models/{name}", "diffusion_models")
        for kind in ("t2v", "i2v")
        for role in ("high", "low")
        for name in (f"wan2.2_{kind}_{role}_noise_14B_fp8_scaled.safetensors",)
    },
    **{
        name: (f"{_WAN22}/loras/{name}", "loras")
        for version in ("t2v_lightx2v_4steps_lora_v1.1", "i2v_lightx2v_4steps_lora_v1")
        for role in ("high", "low")
        for name in (f"wan2.2_{version}_{role}_noise.safetensors",)
    },
}  # fmt: skip
"""Files that workflows name, with where each is downloaded from; addresses as ComfyUI's own templates give them."""

PROMPT = "A lighthouse on a rocky coast at dusk, its beam sweeping over the sea, long exposure, photograph"
WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
    "背景人很多，倒着走"
)
DEMO = "wan-lite-demo"


def load_umt5(title: str = "Text encoder: umT5, type wan") -> Box:
    """Wan's text encoder in core's loader."""
    return Box("clip", "CLIPLoader", title, {"clip_name": UMT5, "type": "wan"}, models={UMT5: MODELS[UMT5]})


def load_qwen_words() -> Box:
    """Return core's loader of Qwen-Image's text encoder."""
    name = "qwen_2.5_vl_7b_fp8_scaled.safetensors"
    values = {"clip_name": name, "type": "qwen_image"}
    return Box("clip", "CLIPLoader", "Text encoder: Qwen 2.5 VL", values, models={name: MODELS[name]})


def load_model(name: str, title: str = "Model") -> Box:
    """A diffusion model in core's loader."""
    return Box("model", "UNETLoader", title, {"unet_name": name}, models={name: MODELS[name]})


def load_vae(name: str, title: str) -> Box:
    """A VAE in this pack's loader."""
    return Box("vae", "WanLiteVAELoader", title, {"vae_name": name}, models={name: MODELS[name]})


def encode(key: str, title: str, text: str, clip: str = "clip") -> Box:
    """A prompt."""
    return Box(key, "CLIPTextEncode", title, {"text": text}, {"clip": clip})


def decode_and_save(prefix: str, latent: str = "sampler", vae: str = "vae") -> list[Box]:
    """From the finished latent to a saved image."""
    return [
        Box("decode", "WanLiteVAEDecode", "Decode", {}, {"samples": latent, "vae": vae}),
        Box("save", "SaveImage", "Save", {"filename_prefix": f"wan-lite/{prefix}"}, {"images": "decode"}),
    ]
