"""The geometry of the latents that core's nodes make, as the check has it, and levels that depend on it."""

from __future__ import annotations

import torch

from harness import is_absent, node, run, submodule

WIDTH, HEIGHT, LENGTH = 768, 512, 49
TOLD_LATER = ("EmptyHunyuanLatentVideo", "EmptyHunyuanVideo15Latent", "EmptyLTXVLatentVideo")
"""Nodes that tell their cell on a present host, but not on the oldest one that is supported."""


class NoVAE:
    """What nodes ask of a VAE for a latent without images: nodes that follow it have no geometry of their own."""

    latent_channels = 48

    def spacial_compression_encode(self) -> int:
        return 16

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 16, (len(pixels) - 1) // 4 + 1, pixels.shape[1] // 8, pixels.shape[2] // 8)


def make_empty(name: str) -> dict:
    inputs = node(name).INPUT_TYPES()
    taken = {**inputs.get("required", {}), **inputs.get("optional", {})}
    values = {"width": WIDTH, "height": HEIGHT, "length": LENGTH, "batch_size": 1, "vae": NoVAE()}
    values |= {"positive": [], "negative": [], "strength": 1.0, "tracks": "", "temperature": 220.0, "topk": 2}
    outputs = run(name, **{key: value for key, value in values.items() if key in taken})
    return next(found for found in outputs if isinstance(found, dict) and "samples" in found)


def check_geometries_are_the_hosts() -> None:
    wrong = {}
    for name, geometry in submodule("check.trace.geometry").GEOMETRIES.items():
        if is_absent(name):
            continue
        latent = make_empty(name)
        channels, *frames, height, width = latent["samples"].shape[1:]
        expected = [(LENGTH - 1) // geometry.frames + 1] if geometry.frames > 1 else []
        found = (channels, frames, HEIGHT / height, WIDTH / width, latent.get("downscale_ratio_spacial"))
        is_told = geometry.is_told and not (name in TOLD_LATER and is_absent("EmptyARVideoLatent"))
        told = geometry.cell if is_told else None
        if found != (geometry.channels, expected, geometry.cell, geometry.cell, told):
            wrong[name] = found
    assert not wrong, wrong


def check_what_vaes_take_is_the_hosts() -> None:
    import comfy.latent_formats as formats

    of_vae = submodule("check.trace.geometry").OF_VAE
    for name, theirs in (("wan2.1", formats.Wan21()), ("qwen-image", formats.Wan21()), ("wan2.2", formats.Wan22())):
        assert (of_vae[name].channels, of_vae[name].cell) == (theirs.latent_channels, theirs.spacial_downscale_ratio)


def check_a_linked_latent_sets_the_levels_of_ltxv() -> None:
    size = {"width": WIDTH, "height": HEIGHT, "length": 97, "batch_size": 1}
    settings = {"steps": 5, "max_shift": 2.05, "base_shift": 0.95, "stretch": True, "terminal": 0.1}
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "ltxv.safetensors"}},
        "2": {"class_type": "EmptyLTXVLatentVideo", "inputs": size},
        "3": {"class_type": "LTXVScheduler", "inputs": {**settings, "latent": ["2", 0]}},
        "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "5": {
            "class_type": "SamplerCustom",
            "inputs": {"model": ["1", 0], "sigmas": ["3", 0], "sampler": ["4", 0], "latent_image": ["2", 0], "cfg": 1.0,
                       "add_noise": True, "noise_seed": 1},
        },
    }  # fmt: skip
    [found] = submodule("check").check_graph(graph).samplers
    (theirs,) = run("LTXVScheduler", **settings, latent=run("EmptyLTXVLatentVideo", **size)[0])
    assert torch.allclose(torch.tensor(found.sigmas), theirs, atol=1e-6), (found.sigmas, theirs)
    (without,) = run("LTXVScheduler", **settings)
    assert not torch.allclose(without, theirs, atol=1e-3)
