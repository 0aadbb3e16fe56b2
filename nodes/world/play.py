"""A world played in the page: the session is the node's value, and queueing makes its frames again."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...models.world import RolloutConfig
from ..host.schema import CATEGORY, Node, choice_input, float_input, int_input, make_schema, seed_input, text_input
from ..host.world_model import HostedWorld, WorldActions, WorldModel, to_images
from .inputs import resize_input
from .play_stages import STAGES, Place, replay_session


class WanLiteWorldPlay(Node):
    """World, context and what was played -> frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteWorldPlay",
            display_name="Wan Lite Play World",
            category=f"{CATEGORY}/world",
            description="Play a world on the node: press Play, click the image, and use the keys. What was played is "
            "kept in the workflow; queueing makes the same frames again, here or on a server without a page.",
            search_aliases=["play", "interactive world", "game", "tinyworlds play", "genie"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            inputs=[
                WorldModel.Input("world", tooltip="From Wan Lite Load World."),
                io.Image.Input("context", tooltip="Frames to start from, oldest first, at least context_window."),
                text_input(
                    "session", "", "What was played: seed, actions and settings. The player on the node writes it."
                ),
                seed_input("seed", "Of drawn tokens, for a session that begins."),
                float_input(
                    "temperature",
                    0.0,
                    (0.0, 10.0),
                    "For a session that begins: 0 takes the likeliest token every time.",
                    step=0.05,
                    round=0.001,
                ),
                int_input(
                    "maskgit_steps",
                    4,
                    (1, 64),
                    "For a session that begins: passes in which a frame's tokens are decoded. Fewer are faster.",
                ),
                choice_input(
                    "feedback",
                    ["pixels", "tokens"],
                    "For a session that begins: what goes back in, the decoded image or its tokens.",
                    default="pixels",
                ),
                int_input(
                    "context_window", 2, (0, 64), "How many frames a prediction sees; at most what training used."
                ),
                resize_input(),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The last frame of the context, and what was played."),
                WorldActions.Output(display_name="WORLD_ACTIONS", tooltip="What was done, and where it stopped."),
                io.String.Output(display_name="session", tooltip="The session as JSON: seed, actions, settings."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> int:
        """Let a node run again after one of the same number in another workflow: its offer to the page is newest."""
        return STAGES.get_change(str(cls.hidden.unique_id))

    @classmethod
    def execute(
        cls,
        world: HostedWorld,
        context: Tensor,
        session: str = "",
        seed: int = 0,
        temperature: float = 0.0,
        maskgit_steps: int = 4,
        feedback: Any = "pixels",
        context_window: int = 2,
        resize: str = "error",
    ) -> io.NodeOutput:
        config = RolloutConfig(
            temperature=temperature, maskgit_steps=maskgit_steps, feedback=feedback, context_window=context_window
        )
        stage = STAGES.offer(Place.of(cls.hidden), world, context, config, resize)
        played = replay_session(world, stage, session, seed)
        return io.NodeOutput(to_images(played.result.frames)[0], played.actions, played.record)


NODES = [WanLiteWorldPlay]
