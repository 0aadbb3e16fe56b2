"""Where nodes are played: the world and the context of each, offered to the page when the node runs."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.world import Rollout, RolloutConfig, SessionRecord, World, WorldSession, replay
from ...pipeline.play.sessions import Stage, WorldSessions
from ..host.progress import get_server
from ..host.world_model import ActionChoice, HostedWorld, RolloutWatch, to_frames

__all__ = ["SESSIONS", "Busy", "Played", "find_stage", "offer_stage", "replay_session"]

MOST_STAGES = 8
FRAMES_AT_ONCE = 8  # that a step holds, for the host's account of memory

SESSIONS = WorldSessions()
_stages: OrderedDict[str, Stage] = OrderedDict()


class Busy(ValueError):
    """A workflow runs, which goes before."""


@dataclass(frozen=True)
class Played:
    """What a node gives out: frames, actions, and how they came about."""

    result: Rollout
    actions: ActionChoice
    record: str
    config: RolloutConfig
    seed: int


def offer_stage(node: str | None, world: HostedWorld, context: Tensor, config: RolloutConfig, resize: str) -> Stage:
    """Let the page play a node's world from its context, and return where it does.

    Args:
        node: Its id in the running workflow; None offers nothing.
        world: That is played; it is kept only as long as the host keeps it.
        context: IMAGE (t, H, W, 3) in [0, 1].
        config: The settings to begin with.
        resize: What to do with images of another size.
    """
    frames = to_frames(context, world.sizes, resize)
    stage = Stage(_lend(weakref.ref(world)), frames[:, -max(config.context_window, 1) :], config)
    if node is not None:
        _stages[node] = stage
        _stages.move_to_end(node)
        while len(_stages) > MOST_STAGES:
            _stages.popitem(last=False)
    return stage


def find_stage(node: object) -> Stage | None:
    """Return where a node is played, None when it has not run."""
    return _stages.get(node) if isinstance(node, str) else None


def _lend(kept: weakref.ref[HostedWorld]) -> Callable[[], World]:
    def acquire() -> World:
        """Return the world on its device, unless a workflow runs or the host has let go of it."""
        queue = getattr(get_server(), "prompt_queue", None)
        if getattr(queue, "currently_running", None):
            raise Busy("A workflow is running; playing goes on when it is done.")
        world = kept()
        if world is None:
            raise ValueError("The world is not in memory any more; run the workflow once, then play.")
        return world.load(FRAMES_AT_ONCE)

    return acquire


def replay_session(world: HostedWorld, stage: Stage, session: str, seed: int) -> Played:
    """Make the frames of a session again, the last of the context first; without one, only that.

    Raises:
        ValueError: The session is not one, or does not fit the world.
    """
    record = SessionRecord.from_json(session) if session.strip() else SessionRecord(seed, ((),), ((0, stage.config),))
    config = record.settings[-1][1]
    rows = [list(row) for row in record.actions]
    if record.steps:
        found = replay(world.load(FRAMES_AT_ONCE), stage.context, record, RolloutWatch())
        shown, tokens, state = found.frames[:, found.context_frames - 1 :], found.tokens, found.state
    else:
        begun = WorldSession(world.load(FRAMES_AT_ONCE), stage.context, config, record.seed)
        shown, tokens, state = stage.context[:, -1:], torch.zeros(1, 0, dtype=torch.long), begun.state
    result = Rollout(shown, 1, torch.tensor(rows), tokens, state)
    return Played(result, ActionChoice(rows, state), record.to_json(), config, record.seed)
