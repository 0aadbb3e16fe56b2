"""Rollouts for people: actions as text, the label of each frame, a report."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..models.world import Rollout, RolloutConfig, World, parse_actions
from ..models.world.action_names import name_action
from ..models.world.actions import ActionPolicy

__all__ = ["format_actions", "label_frames", "parse_action_lists", "report_rollout"]


def parse_action_lists(text: str, names: Sequence[str] = ()) -> list[list[int]]:
    """Read ids, or the names of a world's actions, as people write them, a line for each of several rollouts.

    Raises:
        ValueError: There is no list, or a word is not an id.
    """
    rows = [parse_actions(line, names) for line in text.splitlines() if line.strip()]
    if not rows or not all(isinstance(row, list) and row for row in rows):
        raise ValueError(
            f"text: {text!r} holds no list of actions; write ids such as 0, 3, 3x4 (a line for each rollout), or "
            "choose a rule in source."
        )
    return [row for row in rows if isinstance(row, list)]


def format_actions(actions: list[list[int]] | ActionPolicy | None, names: Sequence[str] = ()) -> str:
    """Write actions as :func:`parse_action_lists` reads them, a line for each rollout; or the rule; or ``none``."""
    if isinstance(actions, list):
        return "\n".join(", ".join(name_action(action, names) for action in row) for row in actions)
    return actions or "none"


def label_frames(result: Rollout, with_context: bool, names: Sequence[str] = ()) -> list[list[str]]:
    """Name every frame of every rollout by its step and the action that led to it, context first."""
    context = ["context"] * result.context_frames if with_context else []
    steps = range(1, result.new_frames.shape[1] + 1)
    if result.actions is None:
        return [[*context, *(f"{step}: " for step in steps)]] * len(result.frames)
    rows = result.actions.tolist()
    return [[*context, *(f"{step}: {name_action(row[step - 1], names)}" for step in steps)] for row in rows]


def report_rollout(world: World, result: Rollout, config: RolloutConfig, seed: int) -> str:
    """Write down the world, the settings that matter, the actions, and how far values left their range."""
    new = result.new_frames
    outside = float((new.abs() > 1).float().mean())
    moved = (new[:, 1:] - new[:, :-1]).abs().mean() / 2 if new.shape[1] > 1 else torch.zeros(())
    lines = [
        world.describe(),
        f"{new.shape[0]} rollout(s) of {new.shape[1]} frames from {result.context_frames} context frames; seed "
        f"{seed}, temperature {config.temperature:g}, feedback {config.feedback}, window {config.context_window}, "
        f"{config.maskgit_steps} MaskGIT steps.",
        f"Mean change from frame to frame {float(moved):.4f} of the range; {outside:.1%} of the values outside it.",
        f"Actions: {format_actions(None if result.actions is None else result.actions.tolist(), world.action_names)}",
    ]
    return "\n".join(lines)
