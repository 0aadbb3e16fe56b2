"""Why a rollout rots: the world measured against a true video."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...models.world import RolloutConfig, diagnose
from ...pipeline.pictures.convert import from_pil
from ...pipeline.pictures.diagnosis import compare_arms, draw_diagnosis_chart
from ...pipeline.pictures.layout import arrange_frames
from ..host.progress import show_text
from ..host.schema import CATEGORY, Node, choice_input, int_input, make_schema, seed_input, switch_input
from ..host.world_model import HostedWorld, RolloutWatch, WorldModel, to_frames
from .inputs import Decoding, decoding_inputs, resize_input


class WanLiteWorldDiagnose(Node):
    """World and a true video -> chart, comparison, report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteWorldDiagnose",
            display_name="Wan Lite World Diagnose",
            category=f"{CATEGORY}/world",
            description="Predicts a true video in four ways (tokenizer alone, one step from true frames, rollout "
            "through pixels, rollout through tokens), compares each with the truth, and says what limits this world.",
            search_aliases=["drift", "psnr", "teacher forcing", "why is my world model bad", "exposure bias"],
            inputs=[
                WorldModel.Input("world", tooltip="From Wan Lite Load World."),
                io.Image.Input(
                    "frames",
                    tooltip="A true video, one image per frame, oldest first, longer than context_window. "
                    "Its actions are read from it.",
                ),
                int_input(
                    "context_window",
                    2,
                    (1, 64),
                    "How many frames a prediction sees; the video's first ones start the rollouts.",
                ),
                seed_input("seed", "Of drawn tokens; without a temperature nothing is random."),
                *decoding_inputs(),
                resize_input(),
                choice_input(
                    "layout",
                    ["contact sheet", "frames"],
                    "contact sheet: a row for each way on one page. frames: one image per frame, the ways side by "
                    "side, for a video.",
                    default="contact sheet",
                ),
                int_input("scale", 2, (1, 16), "How many times each pixel is repeated: no blur.", advanced=True),
                switch_input("overlay", True, "Write frame number and PSNR above each frame.", advanced=True),
            ],
            outputs=[
                io.Image.Output(display_name="chart", tooltip="PSNR of each way over the frames."),
                io.Image.Output(display_name="comparison", tooltip="Truth, tokenizer, one step, both rollouts."),
                io.String.Output(display_name="report", tooltip="The cause in a sentence, then every number."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(  # the host gives inputs by name: those of decoding stand here as in the rollout node
        cls,
        world: HostedWorld,
        frames: Tensor,
        context_window: int = 2,
        seed: int = 0,
        temperature: float = 0.0,
        maskgit_steps: int = 10,
        schedule_k: float = 5.0,
        top_k: int = 0,
        top_p: float = 1.0,
        action_guidance: float = 1.0,
        clamp: bool = True,
        latent_noise: float = 0.0,
        draw: Any = "masked",
        resize: str = "error",
        layout: str = "contact sheet",
        scale: int = 2,
        overlay: bool = True,
    ) -> io.NodeOutput:
        decoding = Decoding(
            temperature, maskgit_steps, schedule_k, top_k, top_p, action_guidance, clamp, latent_noise, draw
        )
        config = RolloutConfig(**decoding._asdict(), context_window=context_window)
        clip = to_frames(frames, world.sizes, resize)
        with world.run(clip.shape[1]) as loaded:
            found = diagnose(loaded, clip, config=config, seed=seed, on_progress=RolloutWatch())
        show_text(cls.hidden, found.cause)
        rows = compare_arms(found, scale=scale, labels=overlay)
        comparison = arrange_frames(rows, "side by side" if layout == "frames" else "contact sheet")
        return io.NodeOutput(from_pil(draw_diagnosis_chart(found))[None], comparison, found.report())


NODES = [WanLiteWorldDiagnose]
