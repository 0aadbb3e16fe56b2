"""World models: load one, choose its actions."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io
from torch import Tensor

from ...models.world import infer_actions, parse_actions
from ..host.folders import model_path
from ..host.progress import show_text
from ..host.schema import CATEGORY, PRECISIONS, choice_input, schema, text_input
from ..host.world_model import (
    IN_THE_WORLD,
    KIND,
    NONE,
    ActionChoice,
    HostedWorld,
    WorldActions,
    WorldModel,
    clip_beside,
    list_worlds,
    newest_change,
    open_world,
    to_frames,
)

RULES = ("list", "diversity", "random", "repeat", "none", "infer from frames")


def paths_of(world_name: str, actions_name: str, dynamics_name: str) -> dict[str, Path | None]:
    """The files that the loader's three names stand for."""
    names = {"world": world_name, "actions": actions_name, "dynamics": dynamics_name}
    unnamed = (IN_THE_WORLD, NONE)
    return {what: None if name in unnamed else model_path(KIND, name, f"{what}_name") for what, name in names.items()}


class WanLiteWorldLoader(io.ComfyNode):
    """One world, or its three checkpoints -> WORLD_MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        worlds = list_worlds()
        return schema(
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
    def fingerprint_inputs(cls, world_name: str, actions_name: str, dynamics_name: str, precision: str) -> str:
        paths = paths_of(world_name, actions_name, dynamics_name)
        return precision + "".join(newest_change(path) for path in paths.values())

    @classmethod
    def execute(
        cls,
        world_name: str,
        actions_name: str = IN_THE_WORLD,
        dynamics_name: str = IN_THE_WORLD,
        precision: str = "auto",
    ) -> io.NodeOutput:
        paths = paths_of(world_name, actions_name, dynamics_name)
        world, clip = open_world(paths, PRECISIONS[precision]), clip_beside(paths["world"])
        show_text(cls.hidden, world.sizes.describe())
        return io.NodeOutput(world, clip and clip.frames, clip and clip.actions)


# Actions -------------------------------------------------------------------------------------------------------------


def written_actions(text: str) -> ActionChoice:
    """Ids as people write them, a line for each of several rollouts.

    Raises:
        ValueError: there is none, or a word is no id.
    """
    rows = [parse_actions(line) for line in text.splitlines() if line.strip()]
    if not rows or not all(isinstance(row, list) and row for row in rows):
        raise ValueError(
            f"text: {text!r} holds no list of actions; write ids such as 0, 3, 3x4 (a line for each rollout), or "
            "choose a rule in source."
        )
    return ActionChoice([row for row in rows if isinstance(row, list)])


def read_actions(world: HostedWorld | None, frames: Tensor | None, resize: str) -> ActionChoice:
    """The actions that the world's latent action model sees between the frames of a clip.

    Raises:
        ValueError: the world or the frames are not connected, or the world has no latent action model.
    """
    if world is None or frames is None:
        missing = "world" if world is None else "frames"
        raise ValueError(
            f"{missing}: nothing is connected; 'infer from frames' needs a WORLD_MODEL and a clip (IMAGE)."
        )
    clip = to_frames(frames, world.sizes, resize)
    return ActionChoice(infer_actions(world.ready(clip.shape[1]), clip).tolist())


class WanLiteWorldActions(io.ComfyNode):
    """A list, a rule or a clip -> WORLD_ACTIONS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteWorldActions",
            display_name="Wan Lite World Actions",
            category=f"{CATEGORY}/world",
            description="Who chooses the actions of a rollout: your list, a rule, or the world's latent action model "
            "reading them from a clip. What an id does is learned, not named: try them.",
            search_aliases=["action list", "controls", "latent actions", "keyboard"],
            inputs=[
                choice_input(
                    "source",
                    RULES,
                    "list: the ids below. diversity: mostly random, now and then one of the least used of the last "
                    "five. repeat: one action all along. infer from frames: needs world and frames.",
                    default="list",
                ),
                text_input(
                    "text",
                    "0, 1, 2, 3",
                    "Ids, with counts if you like: 0, 3, 3x4. A list that is too short repeats its last id. Several "
                    "lines are several rollouts.",
                    multiline=True,
                ),
                WorldModel.Input("world", optional=True, tooltip="For 'infer from frames' only."),
                io.Image.Input(
                    "frames",
                    optional=True,
                    tooltip="For 'infer from frames': a clip, one picture per frame.",
                ),
                resize_input(),
            ],
            outputs=[WorldActions.Output(display_name="WORLD_ACTIONS", tooltip="For Wan Lite World Rollout.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        source: str,
        text: str,
        world: HostedWorld | None = None,
        frames: Tensor | None = None,
        resize: str = "error",
    ) -> io.NodeOutput:
        if source == "list":
            choice = written_actions(text)
        elif source == "infer from frames":
            choice = read_actions(world, frames, resize)
            show_text(cls.hidden, actions_text(choice))
        else:
            choice = ActionChoice(parse_actions(source))  # type: ignore[arg-type]
        return io.NodeOutput(choice)


def actions_text(choice: ActionChoice) -> str:
    """Actions as the actions node reads them back: a line for each rollout, or the rule."""
    if isinstance(choice.actions, list):
        return "\n".join(", ".join(map(str, row)) for row in choice.actions)
    return choice.actions or "none"


def resize_input() -> io.Combo.Input:
    """What to do with pictures that do not have the world's frame size."""
    return choice_input(
        "resize",
        ["error", "fit"],
        "Pictures of another size than the world's frames: stop and say so, or crop to a square and resize.",
        default="error",
        advanced=True,
    )


NODES = [WanLiteWorldLoader, WanLiteWorldActions]
