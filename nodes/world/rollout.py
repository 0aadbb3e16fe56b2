"""A world rolled out in the host: inputs in, library call, frames laid out for people."""

from __future__ import annotations

from typing import Any, NamedTuple

from comfy_api.latest import io
from torch import Tensor

from ...models.world import RolloutConfig
from ...pipeline.pictures.layout import arrange_frames, enlarge
from ...pipeline.rollouts import label_frames, report_rollout
from ..host.schema import CATEGORY, Node, choice_input, float_input, int_input, make_schema, seed_input, switch_input
from ..host.world_model import (
    ActionChoice,
    HostedWorld,
    RolloutPlan,
    WorldActions,
    WorldModel,
    choose_start,
    run_rollout,
    to_images,
)
from .inputs import Decoding, decoding_inputs, resize_input


def rollout_inputs() -> list[Any]:
    """Return the inputs that decide which frames come out, in the order in which saved workflows store them."""
    return [
        int_input("steps", 10, (1, 100_000), "How many times the world is asked for what comes next."),
        seed_input("seed", "Of chosen actions and drawn tokens. Rollout i of several uses this seed + i."),
        int_input(
            "context_window",
            2,
            (0, 64),
            "How many frames a prediction sees; at most what training used (4). 0 is all so far (July 2025 format).",
        ),
        choice_input(
            "feedback",
            ["pixels", "tokens"],
            "What goes back in: the decoded image, tokenised again (the original), or the tokens "
            "themselves (loses nothing).",
            default="pixels",
        ),
        float_input(
            "action_diversity",
            0.1,
            (0.0, 1.0),
            "For the rule diversity: the probability of taking one of the least used of the last five actions.",
            step=0.01,
            round=0.001,
        ),
        int_input("rollouts", 1, (1, 64), "How many rollouts of the same start, each its own seed."),
        *decoding_inputs(),
        int_input("horizon", 1, (1, 16), "New frames predicted together in a step.", advanced=True),
        choice_input(
            "context_actions",
            ["history", "inferred"],
            "Actions between the frames of the window: those that were chosen, or read anew from the frames.",
            default="history",
            advanced=True,
        ),
        switch_input(
            "teacher_forced",
            False,
            "Predict each frame from the true frames before it (context must hold them all) instead of its own.",
            advanced=True,
        ),
        resize_input(),
    ]


def display_inputs() -> list[Any]:
    """Return the inputs that decide how frames are shown."""
    return [
        choice_input(
            "layout",
            ["frames", "side by side", "contact sheet"],
            "frames: one image per frame, rollout after rollout, for Create Video. side by side: all "
            "rollouts in one image. contact sheet: everything on one page.",
            default="frames",
        ),
        int_input("scale", 1, (1, 16), "How many times each pixel is repeated: no blur.", advanced=True),
        switch_input("overlay", False, "Write step and action above each frame (14 pixels higher).", advanced=True),
        switch_input("with_context", True, "Put the context frames in front.", advanced=True),
    ]


class Windowing(NamedTuple):
    """What each prediction of a rollout sees and makes, by the names that a :class:`RolloutConfig` has for it."""

    context_window: int
    feedback: Any
    action_diversity: float
    horizon: int
    context_actions: Any
    teacher_forced: bool


class WanLiteWorldRollout(Node):
    """World, context and actions -> frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteWorldRollout",
            display_name="Wan Lite World Rollout",
            category=f"{CATEGORY}/world",
            description="Continues your frames, one after another, each predicted from the last ones. "
            "Send the frames to Create Video, or look at them as a contact sheet. Feed its WORLD_ACTIONS to another "
            "rollout's continue_from to continue where this one stopped.",
            search_aliases=["rollout", "predict frames", "tinyworlds inference", "genie", "play"],
            inputs=[
                WorldModel.Input("world", tooltip="From Wan Lite Load World."),
                io.Image.Input(
                    "context", optional=True, tooltip="Frames to start from, oldest first, at least context_window."
                ),
                WorldActions.Input(
                    "actions", optional=True, tooltip="From Wan Lite World Actions. Empty: the rule diversity."
                ),
                WorldActions.Input(
                    "continue_from",
                    optional=True,
                    tooltip="WORLD_ACTIONS of an earlier rollout, instead of context frames.",
                ),
                *rollout_inputs(),
                *display_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The rollout, in the chosen layout."),
                WorldActions.Output(display_name="WORLD_ACTIONS", tooltip="What was done, and where it stopped."),
                io.String.Output(display_name="report", tooltip="World, settings, actions, drift of the values."),
            ],
        )

    @classmethod
    def execute(  # the host gives inputs by name: those of decoding stand here as in the diagnosis node
        cls,
        world: HostedWorld,
        steps: int = 10,
        seed: int = 0,
        context_window: int = 2,
        feedback: Any = "pixels",
        action_diversity: float = 0.1,
        rollouts: int = 1,
        temperature: float = 0.0,
        maskgit_steps: int = 10,
        schedule_k: float = 5.0,
        top_k: int = 0,
        top_p: float = 1.0,
        action_guidance: float = 1.0,
        clamp: bool = True,
        latent_noise: float = 0.0,
        draw: Any = "masked",
        horizon: int = 1,
        context_actions: Any = "history",
        teacher_forced: bool = False,
        resize: str = "error",
        layout: Any = "frames",
        scale: int = 1,
        overlay: bool = False,
        with_context: bool = True,
        context: Tensor | None = None,
        actions: ActionChoice | None = None,
        continue_from: ActionChoice | None = None,
    ) -> io.NodeOutput:
        decoding = Decoding(
            temperature, maskgit_steps, schedule_k, top_k, top_p, action_guidance, clamp, latent_noise, draw
        )
        windowing = Windowing(context_window, feedback, action_diversity, horizon, context_actions, teacher_forced)
        config = RolloutConfig(**decoding._asdict(), **windowing._asdict())
        start = choose_start(world.sizes, context, continue_from, resize)
        result, done = run_rollout(world, start, actions, RolloutPlan(steps, seed, rollouts, config))
        frames = enlarge(to_images(result.frames if with_context else result.new_frames), scale)
        labels = label_frames(result, with_context, world.sizes.action_names) if overlay else None
        shown = arrange_frames(frames, layout, labels)
        return io.NodeOutput(shown, done, report_rollout(world.sizes, result, config, seed))


NODES = [WanLiteWorldRollout]
