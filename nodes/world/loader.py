"""World models: load one from a file, a folder, or its three checkpoints."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.folders import fingerprint
from ..host.progress import show_text
from ..host.schema import CATEGORY, PRECISIONS, Node, choice_input, make_schema
from ..host.world_model import (
    IN_THE_WORLD,
    NONE,
    WorldActions,
    WorldModel,
    find_parts,
    list_worlds,
    open_world,
    read_clip_beside,
)


class WanLiteWorldLoader(Node):
    """One world, or its three checkpoints -> WORLD_MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        worlds = list_worlds()
        return make_schema(
            node_id="WanLiteWorldLoader",
            display_name="Wan Lite Load World",
            category=f"{CATEGORY}/world",
            description="A TinyWorlds model from models/world_models: one file, the folder of a training run, or its "
            "three checkpoints (July 2025, published .pth, or current folders). Nothing in a file is run.",
            search_aliases=["tinyworlds", "genie", "world model", "load dynamics"],
            inputs=[
                choice_input(
                    "world_name",
                    worlds,
                    "A whole world (one file or a folder of checkpoints). If the dynamics model is chosen below, "
                    "the video tokenizer's checkpoint.",
                ),
                choice_input(
                    "actions_name",
                    [IN_THE_WORLD, NONE, *worlds],
                    "The latent action model's checkpoint, where it is not part of the world above.",
                    default=IN_THE_WORLD,
                ),
                choice_input(
                    "dynamics_name",
                    [IN_THE_WORLD, *worlds],
                    "The dynamics model's checkpoint, where it is not part of the world above.",
                    default=IN_THE_WORLD,
                ),
                choice_input(
                    "precision",
                    PRECISIONS,
                    "How weights are kept and used. auto and fp32 give the original's numbers; a rollout is small "
                    "enough for fp32 nearly everywhere.",
                    default="auto",
                    advanced=True,
                ),
            ],
            outputs=[
                WorldModel.Output(display_name="WORLD_MODEL", tooltip="For the other nodes of worlds."),
                io.Image.Output(
                    display_name="clip",
                    tooltip="True frames that came with the world (NAME_clip.safetensors beside it), to start from and "
                    "to diagnose with; nothing where there are none.",
                ),
                WorldActions.Output(display_name="clip_actions", tooltip="What was done between its frames."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        world_name: str,
        actions_name: str = IN_THE_WORLD,
        dynamics_name: str = IN_THE_WORLD,
        precision: str = "auto",
    ) -> str:
        paths = find_parts(world_name, actions_name, dynamics_name)
        return precision + "".join(fingerprint(path) for path in paths.values())

    @classmethod
    def execute(
        cls,
        world_name: str,
        actions_name: str = IN_THE_WORLD,
        dynamics_name: str = IN_THE_WORLD,
        precision: str = "auto",
    ) -> io.NodeOutput:
        paths = find_parts(world_name, actions_name, dynamics_name)
        world, clip = open_world(paths, PRECISIONS[precision]), read_clip_beside(paths["world"])
        show_text(cls.hidden, world.sizes.describe())
        return io.NodeOutput(world, clip and clip.frames, clip and clip.actions)


NODES = [WanLiteWorldLoader]
