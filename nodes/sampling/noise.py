"""Noise that belongs to the picture and not to its place in a batch."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io

from ...samplers.noise import per_item_noise
from ..host.schema import ADVANCED, CATEGORY, schema

PER_ITEM, OFFICIAL_CPU, OFFICIAL_GPU = "per item (CPU)", "official (CPU)", "official (GPU)"
MODES = [PER_ITEM, OFFICIAL_CPU, OFFICIAL_GPU]
SEEDS = 2**64


class ItemNoise:
    """The host's NOISE: item i of a batch gets the noise of seed + i, whatever the batch size.

    ``official (GPU)`` draws as Wan's own code does on a graphics card: one picture's shape, generator on the card. The
    numbers then depend on the kind of card, as they do there.
    """

    def __init__(self, seed: int, mode: str) -> None:
        self.seed = seed
        self.mode = mode

    def generate_noise(self, latent: dict[str, Any]) -> torch.Tensor:
        """Latent dict with samples (b, c, ...) -> float32 noise of that shape on the CPU, by ``batch_index``."""
        samples = latent["samples"]
        if samples.is_nested:
            raise ValueError("latent: several latents in one (audio, video) have no noise per item; use RandomNoise.")
        items = latent.get("batch_index") or range(samples.shape[0])
        draw = _official_gpu if self.mode == OFFICIAL_GPU else _per_item
        return torch.cat([draw(samples.shape[1:], (self.seed + item) % SEEDS) for item in items])


def _per_item(shape: torch.Size, seed: int) -> torch.Tensor:
    return per_item_noise((1, *shape), seed)


def _official_gpu(shape: torch.Size, seed: int) -> torch.Tensor:
    device = comfy.model_management.get_torch_device()
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=device, dtype=torch.float32)[None].cpu()


class WanLiteNoise(io.ComfyNode):
    """Seed -> NOISE, one seed for each picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteNoise",
            display_name="Wan Lite Noise",
            category=f"{CATEGORY}/sampling",
            description="Starting noise for SamplerCustomAdvanced. Picture i of a batch is the picture that seed + i "
            "gives alone, so a batch can be repeated one by one and on another machine.",
            search_aliases=["random noise", "batch seed", "per item noise"],
            inputs=[
                io.Int.Input(
                    "noise_seed", default=0, min=0, max=SEEDS - 1, control_after_generate=True,
                    tooltip="Picture i of the batch uses this seed + i.",
                ),
                io.Combo.Input(
                    "mode", options=MODES, default=PER_ITEM, **ADVANCED,
                    tooltip="per item (CPU): the same on every machine, and Wan's own noise when its generator is on "
                    "the CPU. official (GPU): Wan's own noise when its generator is on the graphics card.",
                ),
            ],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, noise_seed: int, mode: str = PER_ITEM) -> io.NodeOutput:
        return io.NodeOutput(ItemNoise(noise_seed, mode))


NODES = [WanLiteNoise]
