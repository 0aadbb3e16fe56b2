"""Who chooses the actions of a rollout."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..host.schema import CATEGORY, Node, choice_input, make_schema, text_input
from ..host.world_model import INFER, LIST, HostedWorld, TrueVideo, WorldActions, WorldModel, choose_actions
from .inputs import resize_input

RULES = (LIST, "diversity", "random", "repeat", "none", INFER)


class WanLiteWorldActions(Node):
    """A list, a rule or a video -> WORLD_ACTIONS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteWorldActions",
            display_name="Wan Lite World Actions",
            category=f"{CATEGORY}/world",
            description="Who chooses the actions of a rollout: your list, a rule, or the world's latent action model "
            "reading them from a video. What an id does is learned; names that somebody wrote down can be used.",
            search_aliases=["action list", "controls", "latent actions", "keyboard", "play"],
            inputs=[
                choice_input(
                    "source",
                    RULES,
                    "list: the ids below. diversity: mostly random, sometimes one of the least used of the last "
                    "five. repeat: one action all along. infer from frames: needs world and frames.",
                    default=LIST,
                ),
                text_input(
                    "text",
                    "0, 1, 2, 3",
                    "Ids, or the names that the world's actions have, with counts if you like: 0, 3x4, left x2. A list "
                    "that is too short repeats its last one. Several lines are several rollouts.",
                    multiline=True,
                ),
                WorldModel.Input(
                    "world", optional=True, tooltip="For 'infer from frames', and for the names of actions in text."
                ),
                io.Image.Input(
                    "frames",
                    optional=True,
                    tooltip="For 'infer from frames': a video, one image per frame.",
                ),
                resize_input(),
            ],
            outputs=[WorldActions.Output(display_name="WORLD_ACTIONS", tooltip="For Wan Lite World Rollout.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        source: str = LIST,
        text: str = "0, 1, 2, 3",
        world: HostedWorld | None = None,
        frames: Tensor | None = None,
        resize: str = "error",
    ) -> io.NodeOutput:
        return io.NodeOutput(choose_actions(source, text, TrueVideo(world, frames, resize), cls.hidden))


NODES = [WanLiteWorldActions]
