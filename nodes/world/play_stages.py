"""Where nodes are played: the world and the context of each, offered to the page when the node runs."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...models.world import Rollout, RolloutConfig, SessionRecord, World, WorldSession, replay
from ...pipeline.play.sessions import Stage, UnknownSession, WorldSessions
from ..host.progress import get_server
from ..host.world_model import ActionChoice, HostedWorld, RolloutWatch, to_frames

__all__ = ["SESSIONS", "STAGES", "Busy", "Place", "Played", "Stages", "replay_session"]

MOST_STAGES = 8
MOST_CONTEXT = 64  # frames that are kept to start from, as many as the node's context_window allows
FRAMES_AT_ONCE = 8  # that a step holds, for the host's account of memory

SESSIONS = WorldSessions()


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


@dataclass(frozen=True)
class Place:
    """A node of a workflow, by their ids; workflows in several tabs have nodes of the same number."""

    workflow: str
    node: str

    @classmethod
    def of(cls, hidden: io.HiddenHolder) -> Place | None:
        """Return the place of the running node, None where the host does not tell."""
        pnginfo: Any = hidden.extra_pnginfo
        workflow = pnginfo.get("workflow") if isinstance(pnginfo, dict) else None
        identity = workflow.get("id") if isinstance(workflow, dict) else None
        return None if hidden.unique_id is None else cls(str(identity or ""), str(hidden.unique_id))


@dataclass(frozen=True)
class _Offer:
    """World and context of a node's last run; their number stays the same as long as both do."""

    world: weakref.ref[HostedWorld]
    frames: Tensor
    config: RolloutConfig
    number: int


class Stages:
    """What nodes were last run with, offered to the page. A world is kept only as long as the host keeps it.

    Runs offer in the host's thread, pages find in those of its server.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._offers: OrderedDict[Place, _Offer] = OrderedDict()
        self._newest: dict[str, int] = {}
        self._changes: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def offer(
        self, place: Place | None, world: HostedWorld, context: Tensor, config: RolloutConfig, resize: str
    ) -> Stage:
        """Let the page play a node's world from its context, and return where it does.

        Args:
            place: The node's; None offers nothing.
            world: That is played.
            context: IMAGE (t, H, W, 3) in [0, 1].
            config: The settings to begin with.
            resize: What to do with images of another size.
        """
        frames = to_frames(context[-MOST_CONTEXT:], world.sizes, resize)
        offer = _Offer(weakref.ref(world), frames, config, 0)
        if place is None:
            return _make_stage(offer, lambda: True)
        known = self._offers.get(place)
        is_same = known is not None and known.world() is world and torch.equal(known.frames, frames)
        number = known.number if known is not None and is_same else next(self._numbers)
        with self._lock:
            self._note_newest(place.node, number)
            return self._keep(place, replace(offer, number=number))

    def find(self, place: Place, *, has_run: bool = False) -> Stage | None:
        """Return where a node is played, None when it has to run first.

        Args:
            place: The node's.
            has_run: Whether its workflow ran just now. Where the host had the node's outputs already, that was under
                another workflow's id, and the node's newest offer is meant.
        """
        with self._lock:
            offer = self._offers.get(place)
            if offer is None and has_run:
                newest = self._newest.get(place.node)
                offer = next((other for other in self._offers.values() if other.number == newest), None)
            return None if offer is None or offer.world() is None else self._keep(place, offer)

    def get_change(self, node: str) -> int:
        """Return a number that is another one whenever a node's newest offer is."""
        return self._changes.get(node, 0)

    def _note_newest(self, node: str, number: int) -> None:
        if self._newest.setdefault(node, number) != number:
            self._newest[node], self._changes[node] = number, next(self._numbers)

    def _keep(self, place: Place, offer: _Offer) -> Stage:
        self._offers[place] = offer
        self._offers.move_to_end(place)
        while len(self._offers) > MOST_STAGES:
            dropped, _ = self._offers.popitem(last=False)
            self._note_newest(dropped.node, 0)  # it has to run again

        def is_current() -> bool:
            return place not in self._offers or self._offers[place].number == offer.number

        return _make_stage(offer, is_current)


STAGES = Stages()


def _make_stage(offer: _Offer, is_current: Callable[[], bool]) -> Stage:
    def acquire() -> World:
        """Return the world on its device, unless a workflow runs, or the node ran with another, or it is gone."""
        queue = getattr(get_server(), "prompt_queue", None)
        if getattr(queue, "currently_running", None):
            raise Busy("A workflow is running; playing goes on when it is done.")
        world = offer.world()
        if world is None:
            raise UnknownSession("session: its world is not in memory any more; run the workflow once, then play.")
        if not is_current():
            raise UnknownSession("session: the node ran with another world or context; play again from there.")
        return world.load(FRAMES_AT_ONCE)

    def limit() -> AbstractContextManager[object]:
        world = offer.world()
        return nullcontext() if world is None else world.fit_threads()

    return Stage(acquire, offer.frames, offer.config, limit)


def replay_session(world: HostedWorld, stage: Stage, session: str, seed: int) -> Played:
    """Make the frames of a session again, the last of the context first; without one, only that.

    Raises:
        ValueError: The session is not one, or does not fit the world.
    """
    record = SessionRecord.from_json(session) if session.strip() else SessionRecord(seed, ((),), ((0, stage.config),))
    config = record.settings[-1][1]
    rows = [list(row) for row in record.actions]
    if record.steps:
        with world.run(FRAMES_AT_ONCE) as loaded:
            found = replay(loaded, stage.context, record, RolloutWatch())
        shown, tokens, state = found.frames[:, found.context_frames - 1 :], found.tokens, found.state
    else:
        begun = WorldSession(world.load(FRAMES_AT_ONCE), stage.context, config, record.seed)
        shown, tokens, state = stage.context[:, -1:], torch.zeros(1, 0, dtype=torch.long), begun.state
    result = Rollout(shown, 1, torch.tensor(rows), tokens, state)
    return Played(result, ActionChoice(rows, state), record.to_json(), config, record.seed)
