"""A pack for tests alone: core's loaders give tiny models of core's own classes in place of files of many gigabytes.

The shipped workflows name real files; here files of those names exist and are empty, so that a workflow is validated
unchanged, and what a loader would have read is built instead. Everything behind the loader is core's own.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "inside"))

import comfy.clip_vision
import comfy.sd
import tiny_models
import tiny_text_encoder
import torch

NODE_CLASS_MAPPINGS: dict = {}
WIDTH = 64  # of text, as the demo's students read it


class TinyText:
    """A CLIP that says something else for every prompt, in the widths that the tiny models read."""

    def __init__(self, width: int = 32, pooled: int | None = None) -> None:
        self.width, self.pooled = width, pooled

    def tokenize(self, text: str, **_) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str, **_) -> list:
        seed = sum(tokens.encode()) % 1000
        return tiny_models.text(rows=5, width=self.width, seed=seed, pooled=self.pooled)


def load_diffusion_model(path: str, **_):
    """A tiny model of the kind that the file's name says."""
    model = make_diffusion_model(Path(path).name.lower().replace("-", "_"))
    model.cached_patcher_init = (load_diffusion_model, (path, {}))  # as core keeps where a model came from
    return model


def make_diffusion_model(name: str):
    """The tiny model that stands for a file of this name."""
    if "qwen_image" in name:
        return tiny_models.qwen_image()
    if "causal" in name:
        return tiny_models.causal_wan(text_dim=WIDTH)
    if "_i2v_" in name:
        return tiny_models.wan_i2v(text_dim=WIDTH, sees_image="2.1" in name)
    return (tiny_models.wan22 if "ti2v_5b" in name else tiny_models.wan)(text_dim=WIDTH)


class TinyVision:
    """An image encoder that sees the same in every image, in the widths of CLIP's ViT-H."""

    def encode_image(self, image: torch.Tensor, crop: bool = True):
        output = comfy.clip_vision.Output()
        output["penultimate_hidden_states"] = torch.ones(len(image), 257, 1280)
        return output


def load_clip_vision(ckpt_path: str) -> TinyVision:
    """A tiny image encoder."""
    return TinyVision()


def load_clip(ckpt_paths: list, clip_type=None, **_):
    """A tiny text encoder: Wan's own class for umT5, as wide as the tiny Wan models read text."""
    if "umt5" in Path(ckpt_paths[0]).name:
        return tiny_text_encoder.clip(WIDTH)
    return TinyText()


def load_checkpoint_guess_config(ckpt_path: str, *_, **__):
    """MODEL, CLIP and VAE of a checkpoint: the VAE is core's, empty of training."""
    name = Path(ckpt_path).name.lower()
    if "xl" in name:
        return tiny_models.sdxl(), TinyText(pooled=1280), tiny_models.vae(4), None
    if "flux" in name:
        return tiny_models.flux(), TinyText(pooled=16), tiny_models.vae(16), None
    return tiny_models.sd35(), TinyText(pooled=16), tiny_models.vae(16), None


comfy.sd.load_diffusion_model = load_diffusion_model
comfy.sd.load_clip = load_clip
comfy.clip_vision.load = load_clip_vision
comfy.sd.load_checkpoint_guess_config = load_checkpoint_guess_config
torch.set_num_threads(1)
