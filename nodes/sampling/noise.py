"""Noise that belongs to the image and not to its place in a batch."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.sampling_run import OFFICIAL_CPU, OFFICIAL_GPU, PER_ITEM, SEEDS, ItemNoise
from ..host.schema import ADVANCED, CATEGORY, schema


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
                    "mode", options=[PER_ITEM, OFFICIAL_CPU, OFFICIAL_GPU], default=PER_ITEM, **ADVANCED,
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
