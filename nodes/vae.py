"""The Wan VAE: load it, encode images, decode latents."""

from __future__ import annotations

import json
from typing import Any

import comfy.model_management
import torch
from comfy.cli_args import args
from comfy_api.latest import io, ui
from torch import Tensor

from ..models.wan_vae import Tiling, load_wan_vae
from ..models.wan_vae.tiling import MODES
from ..pipeline.pictures.convert import join_alpha, make_mask
from ..pipeline.videos.writing import check_video_name, stream_video
from .host.folders import find_model, fingerprint, list_models, make_save_path
from .host.schema import (
    CATEGORY,
    PRECISIONS,
    Node,
    choice_input,
    float_input,
    int_input,
    make_schema,
    text_input,
)
from .host.vae_model import HostVAE, decode_latents, decode_video, encode_images


def make_tiling_inputs() -> list[io.Input]:
    """Return the two inputs that say how much memory the VAE may use."""
    return [
        choice_input(
            "tiling",
            MODES,
            "auto: in chunks of rows that suit the device's memory. off: the whole image at once. budget: in chunks "
            "that fit into budget_mb. The image is the same each time, without seams.",
            default="auto",
            advanced=True,
        ),
        int_input(
            "budget_mb",
            1024,
            (64, 1048576),
            "Working memory in MB, above the weights; used where tiling is budget.",
            step=64,
            advanced=True,
        ),
    ]


def read_tiling(tiling: str, budget_mb: int) -> Tiling:
    """Return the two inputs as the library wants them."""
    return Tiling(tiling, budget_mb if tiling == "budget" else None)


class WanLiteVAELoader(Node):
    """A file -> VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteVAELoader",
            display_name="Wan Lite Load Qwen/Wan VAE",
            category=f"{CATEGORY}/vae",
            description="The Wan 2.1 or Wan 2.2 VAE and its family (Qwen-Image, layered, alpha, upscaling, pruned), "
            "exact and fast for images, bounded in memory for videos. Takes official, ComfyUI and diffusers files. "
            "Works in core's VAE Decode, VAE Encode and their tiled versions too.",
            search_aliases=["wan vae", "vae loader", "wan 2.1 vae", "wan 2.2 vae", "qwen image vae", "qwen vae"],
            inputs=[
                choice_input(
                    "vae_name",
                    list_models("vae"),
                    "From models/vae. Wan 2.2 A14B and the students use the Wan 2.1 VAE; only TI2V-5B uses Wan 2.2's.",
                ),
                choice_input(
                    "precision",
                    PRECISIONS,
                    "auto: bf16 where the graphics card is good at it, else fp32. fp32 gives the official numbers.",
                    default="auto",
                    advanced=True,
                ),
            ],
            outputs=[io.Vae.Output(tooltip="For the VAE nodes of Wan Lite, of core and of other packs.")],
        )

    @classmethod
    def fingerprint_inputs(cls, vae_name: str, precision: str = "auto") -> str:
        return f"{fingerprint(find_model('vae', vae_name, 'vae_name'))} {precision}"

    @classmethod
    def execute(cls, vae_name: str, precision: str = "auto") -> io.NodeOutput:
        device = comfy.model_management.vae_device()
        dtype = PRECISIONS[precision] or comfy.model_management.vae_dtype(device, [torch.bfloat16, torch.float32])
        path = find_model("vae", vae_name, "vae_name")
        return io.NodeOutput(HostVAE(load_wan_vae(path, dtype, comfy.model_management.vae_offload_device()), dtype))


class WanLiteVAEEncode(Node):
    """IMAGE -> LATENT, one latent for each image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteVAEEncode",
            display_name="Wan Lite VAE Encode",
            category=f"{CATEGORY}/vae",
            description="Encodes images: a batch of n images becomes n latents of one frame. (Core's VAE Encode makes "
            "one video of them.)",
            search_aliases=["encode", "image to latent", "wan encode", "vae tiled", "tiled encode", "qwen vae encode"],
            inputs=[
                io.Image.Input("image", tooltip="Both sides must be multiples of 8 (Wan 2.1 VAE) or 16 (Wan 2.2 VAE)."),
                io.Vae.Input("vae", tooltip="From Wan Lite Load Qwen/Wan VAE, or core's Load VAE with a Wan VAE."),
                *make_tiling_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="One frame for each image; for img2img or core's nodes.")],
        )

    @classmethod
    def execute(cls, image: Tensor, vae: Any, tiling: str = "auto", budget_mb: int = 1024) -> io.NodeOutput:
        return io.NodeOutput({"samples": encode_images(vae, image, read_tiling(tiling, budget_mb))})


class WanLiteVAEDecode(Node):
    """LATENT -> IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteVAEDecode",
            display_name="Wan Lite VAE Decode",
            category=f"{CATEGORY}/vae",
            description="Decodes latents to images; a video becomes its frames. Images of any size, within the memory "
            "that there is, without seams.",
            search_aliases=["decode", "latent to image", "wan decode", "vae tiled", "tiled decode", "qwen vae decode"],
            inputs=[
                io.Latent.Input(
                    "samples", tooltip="From a sampler or VAE Encode: 16 channels for the Wan 2.1 VAE, 48 for 2.2."
                ),
                io.Vae.Input("vae", tooltip="From Wan Lite Load Qwen/Wan VAE, or core's Load VAE with a Wan VAE."),
                *make_tiling_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    tooltip="One image for each latent (each frame of a video); four channels where the VAE has alpha."
                ),
                io.Mask.Output(tooltip="What is transparent, 1 where it is wholly so; all 0 for a VAE without alpha."),
            ],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], vae: Any, tiling: str = "auto", budget_mb: int = 1024) -> io.NodeOutput:
        images = decode_latents(vae, samples["samples"], read_tiling(tiling, budget_mb))
        return io.NodeOutput(images, make_mask(images))


class WanLiteJoinAlpha(Node):
    """Images of colours and images of alpha -> IMAGE with alpha."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteJoinAlpha",
            display_name="Wan Lite Join Alpha",
            category=f"{CATEGORY}/vae",
            description="Joins what Wan-Alpha's two VAEs decode from the same latent, colours and alpha channel, to "
            "images with transparency.",
            search_aliases=["wan alpha", "rgba", "transparent video"],
            inputs=[
                io.Image.Input("image", tooltip="Decoded with Wan-Alpha's VAE of the colours (rgb_channel)."),
                io.Image.Input("alpha", tooltip="Decoded with its VAE of the alpha channel; white is opaque."),
            ],
            outputs=[
                io.Image.Output(tooltip="Four channels: red, green, blue, alpha."),
                io.Mask.Output(tooltip="What is transparent, 1 where it is wholly so."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, alpha: Tensor) -> io.NodeOutput:
        joined = join_alpha(image, alpha)
        return io.NodeOutput(joined, make_mask(joined))


class WanLiteSaveVideo(Node):
    """LATENT -> a video file, written as its frames are decoded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteSaveVideo",
            display_name="Wan Lite Save Video",
            category=f"{CATEGORY}/vae",
            description="Decodes a video a few frames at a time and writes each at once: memory does not grow with the "
            "video's length. The file carries the workflow.",
            search_aliases=["save video", "mp4", "webm", "long video", "video decode"],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Latent.Input("samples", tooltip="One video, from a sampler."),
                io.Vae.Input(
                    "vae", tooltip="From Wan Lite Load Qwen/Wan VAE; another VAE decodes the video whole first."
                ),
                text_input("filename_prefix", "video/WanLite", "Name of the file, in the output folder."),
                float_input("fps", 16.0, (1.0, 120.0), "Frames per second: 16 for Wan 2.1, 24 for TI2V-5B.", step=1.0),
                choice_input("format", ("mp4", "webm", "mkv"), "mp4 and mkv: H.264. webm: VP9.", default="mp4"),
                *make_tiling_inputs(),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls,
        samples: dict[str, Any],
        vae: Any,
        filename_prefix: str = "video/WanLite",
        fps: float = 16.0,
        format: str = "mp4",
        tiling: str = "auto",
        budget_mb: int = 1024,
    ) -> io.NodeOutput:
        path, file, subfolder = make_save_path(filename_prefix, f".{format}")
        check_video_name(path, fps)
        frames = decode_video(vae, samples["samples"], read_tiling(tiling, budget_mb))
        stream_video(frames, path, fps, describe_workflow(cls.hidden))
        return io.NodeOutput(ui=ui.PreviewVideo([ui.SavedResult(file, subfolder, io.FolderType.output)]))


def describe_workflow(hidden: io.HiddenHolder) -> dict[str, str]:
    """Return the workflow and prompt of this run as core's Save Video writes them; empty where the user wants none."""
    if args.disable_metadata:
        return {}
    found = {**(hidden.extra_pnginfo or {}), **({} if hidden.prompt is None else {"prompt": hidden.prompt})}
    return {key: json.dumps(value) for key, value in found.items()}


NODES = [WanLiteVAELoader, WanLiteVAEEncode, WanLiteVAEDecode, WanLiteJoinAlpha, WanLiteSaveVideo]
