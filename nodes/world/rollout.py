"""A world rolled out in the host: inputs in, library call, frames laid out for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ...models.world import Rollout, RolloutConfig, World, rollout
from ...pipeline.pictures.layout import draw_labels, enlarge, make_contact_sheet, put_side_by_side
from ..host.schema import CATEGORY, choice_input, float_input, int_input, schema, seed_input, switch_input
from ..host.world_model import ActionChoice, HostedWorld, RolloutWatch, WorldActions, WorldModel, to_frames, to_images
from .loader import actions_text, resize_input


def rollout_inputs() -> list[Any]:
    """The inputs that decide which frames come out, in the order in which saved workflows store them."""
    return [
        int_input("steps", 10, (1, 100_000), "How often the world is asked for what comes next."),
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
            "What goes back in: the decoded picture, tokenised again (the original), or the tokens "
            "themselves (loses nothing).",
            default="pixels",
        ),
        float_input(
            "action_diversity",
            0.1,
            (0.0, 1.0),
            "For the rule diversity: how often one of the least used of the last five actions is taken.",
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


def decoding_inputs() -> list[Any]:
    """The inputs that decide how one frame's tokens are chosen; a diagnosis has them too."""
    return [
        float_input(
            "temperature",
            0.0,
            (0.0, 10.0),
            "0 takes the likeliest token every time; 1 draws as the model was trained; the original's default is 0.5.",
            step=0.05,
            round=0.001,
        ),
        int_input(
            "maskgit_steps",
            10,
            (1, 1000),
            "Passes in which the tokens of a frame are chosen, the surest first. 10 is the original's.",
        ),
        float_input(
            "schedule_k",
            5.0,
            (0.01, 50.0),
            "Steepness of the schedule by which passes choose tokens; with 10 passes it changes little.",
            step=0.1,
            advanced=True,
        ),
        int_input("top_k", 0, (0, 65536), "Draw among the k likeliest tokens; 0 is all.", advanced=True),
        float_input(
            "top_p",
            1.0,
            (0.0, 1.0),
            "Draw among the likeliest tokens that together reach this probability; 1 is all.",
            step=0.01,
            advanced=True,
        ),
        float_input(
            "action_guidance",
            1.0,
            (0.0, 10.0),
            "Above 1 the action counts for more than the model thinks; doubles the work. 1 is off.",
            step=0.1,
            advanced=True,
        ),
        switch_input("clamp", True, "Limit frames to the valid range before they go back in.", advanced=True),
        float_input(
            "latent_noise",
            0.0,
            (0.0, 10.0),
            "July 2025 format only: what its program called temperature T is (T - 1) * 0.1 here.",
            step=0.01,
            round=0.0001,
            advanced=True,
        ),
        choice_input(
            "draw",
            ["masked", "all"],
            "all draws random numbers for every token of the window, as the original: its samples, seed for seed.",
            default="masked",
            advanced=True,
        ),
    ]


def display_inputs() -> list[Any]:
    """The inputs that decide how frames are shown."""
    return [
        choice_input(
            "layout",
            ["frames", "side by side", "contact sheet"],
            "frames: one picture per frame, rollout after rollout, for Create Video. side by side: all "
            "rollouts in one picture. contact sheet: everything on one page.",
            default="frames",
        ),
        int_input("scale", 1, (1, 16), "Repeat each pixel this often: no blur.", advanced=True),
        switch_input("overlay", False, "Write step and action above each frame (14 pixels higher).", advanced=True),
        switch_input("with_context", True, "Put the context frames in front.", advanced=True),
    ]


@dataclass(frozen=True)
class Run:
    """How often, how many at once, from which seed and in which way a world is rolled out."""

    steps: int
    seed: int
    rollouts: int
    config: RolloutConfig


class WanLiteWorldRollout(io.ComfyNode):
    """World, context and actions -> frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteWorldRollout",
            display_name="Wan Lite World Rollout",
            category=f"{CATEGORY}/world",
            description="Lets a world run on from your frames, frame after frame, each predicted from the last ones. "
            "Send the frames to Create Video, or look at them as a contact sheet. Feed its WORLD_ACTIONS to another "
            "rollout's continue_from to go on where this one stopped.",
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
    def execute(
        cls,
        world: HostedWorld,
        steps: int,
        seed: int,
        context_window: int,
        feedback: Any,
        action_diversity: float,
        rollouts: int,
        temperature: float,
        maskgit_steps: int,
        schedule_k: float,
        top_k: int,
        top_p: float,
        action_guidance: float,
        clamp: bool,
        latent_noise: float,
        draw: Any,
        horizon: int,
        context_actions: Any,
        teacher_forced: bool,
        resize: str,
        layout: str,
        scale: int,
        overlay: bool,
        with_context: bool,
        context: Tensor | None = None,
        actions: ActionChoice | None = None,
        continue_from: ActionChoice | None = None,
    ) -> io.NodeOutput:
        config = RolloutConfig(
            horizon=horizon,
            maskgit_steps=maskgit_steps,
            schedule_k=schedule_k,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            action_guidance=action_guidance,
            draw=draw,
            context_window=context_window,
            feedback=feedback,
            clamp=clamp,
            action_diversity=action_diversity,
            context_actions=context_actions,
            teacher_forced=teacher_forced,
            latent_noise=latent_noise,
        )
        start = starting_point(world.sizes, context, continue_from, resize)
        run = Run(steps, seed, rollouts, config)
        result = rolled_out(world, start, actions, run)
        frames = to_images(result.frames if with_context else result.new_frames)
        shown = laid_out(enlarged(frames, scale), labels_of(result, with_context) if overlay else None, layout)
        done = ActionChoice(None if result.actions is None else result.actions.tolist(), result.state)
        return io.NodeOutput(shown, done, report_of(world.sizes, result, done, run))


def starting_point(world: World, context: Tensor | None, continue_from: ActionChoice | None, resize: str) -> Any:
    """Context frames, or the state of an earlier rollout.

    Raises:
        ValueError: both or neither are connected, or the WORLD_ACTIONS are no rollout's.
    """
    if context is not None and continue_from is None:
        return to_frames(context, world, resize)
    if context is not None or continue_from is None:
        given = "neither is" if context is None else "both are"
        raise ValueError(f"context, continue_from: {given} connected; a rollout starts from one of them.")
    if continue_from.state is None:
        raise ValueError(
            "continue_from: these WORLD_ACTIONS were written down, so there is no rollout to go on from; connect the "
            "WORLD_ACTIONS output of a Wan Lite World Rollout."
        )
    return continue_from.state


def rolled_out(world: HostedWorld, start: Any, actions: ActionChoice | None, run: Run) -> Rollout:
    """The library's rollout with the host's memory, progress bar and interrupt."""
    return rollout(
        world.ready(run.rollouts * (max(run.config.context_window, 4) + run.config.horizon)),
        start,
        steps=run.steps,
        actions="diversity" if actions is None else actions.actions,
        batch=None if run.rollouts == 1 else run.rollouts,
        seed=run.seed,
        on_progress=RolloutWatch(),
        config=run.config,
    )


def enlarged(frames: Tensor, scale: int) -> Tensor:
    """(b, t, H, W, 3) with every pixel repeated."""
    return rearrange(
        enlarge(rearrange(frames, "b t h w c -> (b t) h w c"), scale), "(b t) h w c -> b t h w c", b=len(frames)
    )


def labels_of(result: Rollout, with_context: bool) -> list[list[str]]:
    """Step and action of every frame, context first: the action is the one that led to the frame."""
    context = ["context"] * result.context_frames if with_context else []
    count = result.new_frames.shape[1]
    rows = [[""] * count] * len(result.frames) if result.actions is None else result.actions.tolist()
    return [[*context, *(f"{step + 1}: {action}" for step, action in enumerate(row))] for row in rows]


def laid_out(frames: Tensor, labels: list[list[str]] | None, layout: str) -> Tensor:
    """Frames (b, t, H, W, 3), with their labels, as an IMAGE (n, H', W', 3)."""
    if labels is not None:
        frames = torch.stack([draw_labels(row, texts) for row, texts in zip(frames, labels, strict=True)])
    if layout == "side by side":
        return put_side_by_side(frames)
    flat = rearrange(frames, "b t h w c -> (b t) h w c")
    columns = frames.shape[1] if len(frames) > 1 else None
    return make_contact_sheet(flat, columns) if layout == "contact sheet" else flat


def report_of(world: World, result: Rollout, done: ActionChoice, run: Run) -> str:
    """What was done, in words: the world, the settings that matter, the actions, how far values left their range."""
    new, config = result.new_frames, run.config
    outside = float((new.abs() > 1).float().mean())
    moved = (new[:, 1:] - new[:, :-1]).abs().mean() / 2 if new.shape[1] > 1 else torch.zeros(())
    lines = [
        world.describe(),
        f"{new.shape[0]} rollout(s) of {new.shape[1]} frames from {result.context_frames} context frames; seed "
        f"{run.seed}, temperature {config.temperature:g}, feedback {config.feedback}, window {config.context_window}, "
        f"{config.maskgit_steps} MaskGIT steps.",
        f"Mean change from frame to frame {float(moved):.4f} of the range; {outside:.1%} of the values outside it.",
        f"Actions: {actions_text(done)}",
    ]
    return "\n".join(lines)


NODES = [WanLiteWorldRollout]
