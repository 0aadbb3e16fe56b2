"""Noise that belongs to the image and not to its place in a batch."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.sampling_run import OFFICIAL_CPU, OFFICIAL_GPU, PER_ITEM, ItemNoise
from ..host.schema import CATEGORY, Node, choice_input, make_schema, seed_input


class WanLiteNoise(Node):
    """Seed -> NOISE, one seed for each image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteNoise",
            display_name="Wan Lite Noise",
            category=f"{CATEGORY}/sampling",
            description="Starting noise for SamplerCustomAdvanced. Image i of a batch is the image that seed + i "
            "gives alone, so a batch can be repeated one by one and on another machine.",
            search_aliases=["random noise", "batch seed", "per item noise"],
            inputs=[
                seed_input("noise_seed", "Image i of the batch uses this seed + i."),
                choice_input(
                    "mode",
                    [PER_ITEM, OFFICIAL_CPU, OFFICIAL_GPU],
                    "per item (CPU): the same on every machine, and Wan's own noise when its generator is on the "
                    "CPU. official (GPU): Wan's own noise when its generator is on the graphics card.",
                    default=PER_ITEM,
                    advanced=True,
                ),
            ],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, noise_seed: int = 0, mode: str = PER_ITEM) -> io.NodeOutput:
        return io.NodeOutput(ItemNoise(noise_seed, mode))


NODES = [WanLiteNoise]
