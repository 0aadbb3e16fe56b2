"""Which family of models a file belongs to, by its name, and how ComfyUI samples that family.

Source: ComfyUI 0.33.0, comfy/supported_models.py and latent_formats.py (default shifts, multipliers, latents); file
names as the official templates and the authors' repositories have them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..levels.sampling import ContinuousEDM, DiscreteEpsilon, DiscreteFlow, FluxFlow, ModelSampling

__all__ = ["CAUSAL_WAN", "FAMILIES", "QWEN_IMAGE", "Family", "find_family", "find_vae", "is_judged"]


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        id: As findings name it.
        core: The class in ``comfy.supported_models`` whose settings these are.
        pattern: What the file's name contains, in lower case with "_" between words.
        sampling: What core samples it with when nobody patches.
        vae: Names of the VAEs whose latents it takes, the right one first; empty where not judged.
        text: Type of the text encoder's loader; empty where not judged.
        cell: Pixels of a side for one latent, with the network's patch.
        frames: Frames of a video for one latent frame; 1 for images.
    """

    id: str
    core: str
    pattern: str
    sampling: ModelSampling
    vae: tuple[str, ...] = ()
    text: str = ""
    cell: int = 8
    frames: int = 1

    @property
    def is_judged(self) -> bool:
        """Whether findings may speak of its VAE, latents and text encoder."""
        return bool(self.vae)


WAN = "wan2.1"
WAN_VAES = ("wan2.1", "qwen-image")
QWEN_IMAGE = "qwen-image"
CAUSAL_WAN = "Wan 2.1 causal"
"""Core samples these as causal (with shift 5) only where the file's header says so, as its AR sampler requires."""

QWEN_VAES = ("qwen-image", "wan2.1")

FAMILIES = (
    # the first pattern that fits decides: the narrower ones come first
    Family("Wan 2.2 5B", "WAN22_T2V", r"wan_?2_?2\w*_5b|ti2v_5b|fastwan2_2|5b_turbo", DiscreteFlow(8.0),
           ("wan2.2",), "wan", 32, 4),
    Family("Wan-Animate 2", "WAN_Animate2", r"wan_?animate_?2(?!_?14b)", DiscreteFlow(5.0), WAN_VAES, "wan", 16, 4),
    Family("Qwen-Image-Layered", "QwenImage", r"qwen_image_layered", DiscreteFlow(1.15, 1.0)),
    Family("Qwen-Image", "QwenImage", r"qwen_image|firered_image_edit", DiscreteFlow(1.15, 1.0), QWEN_VAES,
           "qwen_image", 16),
    Family("Wan 2.2 A14B", "WAN21_T2V", r"wan_?2_?2\w*((high|low)_noise|a14b)|a14b", DiscreteFlow(8.0), WAN_VAES,
           "wan", 16, 4),
    Family(CAUSAL_WAN, "WAN21_CausalAR_T2V", r"causal_forcing|self_forcing|causvid|longlive|krea_?realtime",
           DiscreteFlow(5.0), WAN_VAES, "wan", 16, 4),
    Family("Wan 2.1", "WAN21_T2V",
           r"wan_?2_?[12]|^wan(21|22)|chrono_?edit|humo_\d+b|fastwan|accvideo|rcm_wan",
           DiscreteFlow(8.0), WAN_VAES, "wan", 16, 4),
    Family("Anima", "Anima", r"^anima", DiscreteFlow(3.0, 1.0), QWEN_VAES, "", 16),
    Family("Krea 2", "Krea2", r"^krea_?2", DiscreteFlow(1.15, 1.0), QWEN_VAES, "", 16),
    Family("JoyImage", "JoyImage", r"joyai_image|joyimage", DiscreteFlow(1.5)),
    Family("Flux.1 schnell", "FluxSchnell", r"flux_?1_schnell", DiscreteFlow(1.0, 1.0)),
    Family("Flux.2", "Flux2", r"flux_?2", FluxFlow(2.02)),
    Family("Flux.1", "Flux", r"flux_?1|^flux_", FluxFlow(1.15)),
    Family("Stable Diffusion 3", "SD3", r"sd3", DiscreteFlow(3.0)),
    Family("Z-Image", "ZImage", r"^z_?image", DiscreteFlow(3.0, 1.0)),
    Family("Lumina 2", "Lumina2", r"lumina_?2|neta_?yume|netayume", DiscreteFlow(6.0, 1.0)),
    Family("HunyuanVideo 1.5", "HunyuanVideo15", r"hunyuan_?video_?1_?5", DiscreteFlow(7.0)),
    Family("HunyuanVideo", "HunyuanVideo", r"hunyuan_?video", DiscreteFlow(7.0)),
    Family("LTX-Video", "LTXV", r"^ltx", FluxFlow(2.37)),
    Family("Mochi", "GenmoMochi", r"mochi", DiscreteFlow(6.0, 1.0)),
    Family("Chroma", "Chroma", r"chroma(?!_?radiance)", DiscreteFlow(1.0, 1.0)),
    Family("OmniGen 2", "Omnigen2", r"omnigen_?2", DiscreteFlow(2.6, 1.0)),
    Family("MiniMax H3", "MiniMaxH3", r"minimax_h3", DiscreteFlow(12.0)),
    Family("SVD", "SVD_img2vid", r"^svd", ContinuousEDM(0.002, 700.0)),
    Family("SDXL", "SDXL", r"sd_?xl", DiscreteEpsilon()),
    Family("Stable Diffusion 1.5", "SD15", r"^(v1_5|sd_?v?1_?5|dreamshaper)", DiscreteEpsilon()),
)  # fmt: skip
"""Families of models by the names of their files."""

VAES = (
    ("wan2.2", r"wan_?2_?2_vae|(light|light_?tae|tae)w2_2|mg_lightvae"),
    ("qwen-image-layered", r"qwen_image_layered_vae"),
    ("qwen-image", r"qwen_image_vae"),
    ("wan2.1", r"wan_?(alpha_)?2_?1_?vae|wan_alpha_2_1|wan_2_1_vae|wan_vae|(lightvae|lighttae|tae)w2_1"),
    ("flux", r"^ae$|flux_?1_vae"),
    ("flux2", r"flux_?2_vae|full_encoder_small_decoder"),
    ("hunyuan-video", r"hunyuan_?video"),
    ("ltx", r"^ltx"),
    ("stable-diffusion", r"vae_ft_mse|sd_?xl_vae|^sd\w*vae"),
    ("mochi", r"mochi"),
    ("cogvideox", r"cogvideo"),
)
"""VAEs by the names of their files."""


def find_family(file: str) -> Family | None:
    """Return the family of a model file, or None where its name does not tell."""
    name = plain_name(file)
    return next((family for family in FAMILIES if re.search(family.pattern, name)), None)


def find_vae(file: str) -> str | None:
    """Return the name of the VAE that a file holds, or None where its name does not tell."""
    name = plain_name(file)
    return next((vae for vae, pattern in VAES if re.search(pattern, name)), None)


def plain_name(file: str) -> str:
    """Return a file's name without folders and extension, in lower case with "_" between words."""
    stem = re.sub(r"\.(safetensors|sft|gguf|pth|pt|ckpt|bin)$", "", re.split(r"[\\/]", file)[-1].lower())
    return re.sub(r"[^a-z0-9]+", "_", stem).strip("_")


def is_judged(family: Family | None) -> bool:
    """Whether findings may speak of a model's VAE, latents and text encoder."""
    return family is not None and family.is_judged
