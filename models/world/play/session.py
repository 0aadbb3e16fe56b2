"""A world that is played: one frame for each action, with undo, and a record that replays to the same bytes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..frames import check_context
from ..predictor import Window
from ..rollout_config import RolloutConfig, check_minimum, override_config
from ..stepper import FrameStepper, RolloutState, make_generators
from ..world import World
from .record import SessionRecord, check_playable

__all__ = ["WorldSession"]

KEPT = 256
"""Steps whose states and frames are held; older ones are played again when they are asked for."""


@dataclass(frozen=True)
class _Moment:
    """Where a session stands after a number of steps.

    Attributes:
        step: How many steps were taken.
        window: The last frames, on the world's device.
        generators: The states of the generators of each item.
        frame: (b, 3, S, S) on the CPU, what is seen.
        confidence: (b, p), the probability of each of its tokens, or None.
    """

    step: int
    window: Window
    generators: tuple[tuple[Tensor, Tensor], ...]
    frame: Tensor
    confidence: Tensor | None = None


class WorldSession:
    """Play a world: give an action, get the next frame.

    The same seed, actions and settings make the same bytes, here and in :func:`replay`, which uses :func:`rollout`.

    Attributes:
        world: That is played.
        config: The settings of the next step.
        seed: Of item 0; item i has seed + i.
    """

    def __init__(self, world: World, context: Tensor, config: RolloutConfig | None = None, seed: int = 0) -> None:
        """Begin at the end of a video.

        Args:
            world: To play.
            context: Frames (b, t, 3, S, S) or (t, 3, S, S) in [-1, 1], at least ``context_window`` of them.
            config: The settings; ``horizon`` must be 1 and ``teacher_forced`` off.
            seed: Of drawn tokens.

        Raises:
            ValueError: Context or settings do not fit the world.
        """
        self.world, self.seed, self.config = world, seed, config or RolloutConfig()
        _check_config(world, self.config)
        self._context = check_context(world, context, self.config, 1)
        frames = self._context[:, -self.config.context_window :]
        seeds = [seed + i for i in range(len(frames))]
        self._start = _Moment(
            0, Window(frames.to(world.device)), make_generators(seeds, self.config).save(), self._context[:, -1].cpu()
        )
        self._begin()

    def _begin(self) -> None:
        self._actions: list[list[int]] = [[] for _ in self._start.frame]
        self._settings: list[tuple[int, RolloutConfig]] = []
        self._kept: deque[_Moment] = deque([self._start], KEPT + 1)
        self._stepper: FrameStepper | None = None

    @property
    def steps(self) -> int:
        """How many frames were played."""
        return self._kept[-1].step

    @property
    def frame(self) -> Tensor:
        """The newest frame, (b, 3, S, S) in [-1, 1] on the CPU; at the start the last of the context."""
        return self._kept[-1].frame

    @property
    def confidence(self) -> Tensor | None:
        """How sure the world was of each patch of the newest frame: (b, rows, columns) in [0, 1], on the CPU.

        The probability that the patch's token had when it was chosen. None at the start, and in the legacy format.
        """
        sure = self._kept[-1].confidence
        return None if sure is None else sure.cpu().unflatten(1, (math.isqrt(sure.shape[1]), -1))

    @property
    def state(self) -> RolloutState:
        """Where the session stands, for :func:`rollout` to continue from."""
        now = self._kept[-1]
        return RolloutState(
            now.window.to(torch.device("cpu")), tuple(tuple(own) for own in self._actions), now.generators
        )

    def configure(self, **settings: object) -> None:
        """Change settings from the next step on.

        Args:
            **settings: Fields of :class:`RolloutConfig`.

        Raises:
            ValueError: A setting is not allowed; nothing changes.
        """
        config = override_config(self.config, settings)
        _check_config(self.world, config)
        self._stepper = self._resume(config)
        self.config = config

    def step(self, action: int | Sequence[int], on_step: Callable[[int], None] | None = None) -> Tensor:
        """Play one frame.

        Args:
            action: Id for all items, or one for each.
            on_step: Called before every decoding step with its number; what it raises ends the step, and nothing has
                changed.

        Returns:
            The next frame, (b, 3, S, S) in [-1, 1] (unless clamp is off), float32 on the CPU.

        Raises:
            ValueError: The world does not have the action.
        """
        now = self._kept[-1]
        actions = self._check_action(action)
        self._stepper = self._stepper or self._resume(self.config)
        history = self._list_recent_actions(now, actions)
        try:
            prediction = self._stepper.step(history, on_step)
        except BaseException:
            self._stepper = None  # its random numbers may be spent
            raise
        if not self._settings or self._settings[-1][1] != self.config:
            self._settings.append((now.step, self.config))
        for own, chosen in zip(self._actions, actions, strict=True):
            own.append(chosen)
        frame = prediction.frames[:, 0].cpu()
        sure = None if prediction.confidence is None else prediction.confidence[:, 0]
        self._kept.append(_Moment(now.step + 1, prediction.window, self._stepper.generators.save(), frame, sure))
        return frame

    def undo(self, count: int = 1) -> Tensor:
        """Take back ``count`` steps, as if never played, and return the frame (b, 3, S, S) that is seen then.

        Raises:
            ValueError: Fewer steps than that were played.
        """
        check_minimum("undo", count, 0)
        if count > self.steps:
            raise ValueError(f"undo: {count} steps asked for, but {self.steps} were played; give that many at most.")
        target = self.steps - count
        if target >= self._kept[0].step:
            while self._kept[-1].step > target:
                self._kept.pop()
            self._actions = [own[:target] for own in self._actions]
            self._settings = [entry for entry in self._settings if entry[0] < target]
            self._stepper = None
        else:
            self._play_again(target)
        return self.frame

    def reset(self) -> Tensor:
        """Go back to the start, with the seed and the settings of now, and return the frame (b, 3, S, S) seen there."""
        config = self.config
        _check_window(self.world, config, self._start.window)
        self._begin()
        return self.frame

    def fork(self) -> WorldSession:
        """Return a session that stands where this one stands, and goes its own way from there."""
        other = object.__new__(WorldSession)
        other.__dict__.update(self.__dict__)
        other._actions = [list(own) for own in self._actions]
        other._settings = list(self._settings)
        other._kept = self._kept.copy()
        other._stepper = None
        return other

    def play_record(self, record: SessionRecord) -> WorldSession:
        """Play what a record says from the start, with its settings, and return this session.

        Raises:
            ValueError: The record does not fit this session or its world.
        """
        if record.seed != self.seed or len(record.actions) != len(self._actions):
            raise ValueError(
                f"session: the record has seed {record.seed} for {len(record.actions)} sessions, this one {self.seed} "
                f"for {len(self._actions)}; begin with those of the record."
            )
        for _, config in record.settings:
            _check_config(self.world, config)
        self._actions, self._settings = [list(row) for row in record.actions], list(record.settings)
        self._play_again(record.steps)
        self._set_config(record.settings[-1][1])
        return self

    def record(self) -> SessionRecord:
        """Return what was played, and the settings of the next step where they are others."""
        settings = list(self._settings)
        if not settings or settings[-1][1] != self.config:
            settings.append((self.steps, self.config))
        return SessionRecord(self.seed, tuple(tuple(own) for own in self._actions), tuple(settings))

    def frames(self, first: int = 0) -> Tensor:
        """Return the frames from a step on, the one before step 0 being the last of the context; (b, n, 3, S, S).

        Those that are no longer held are played again.

        Args:
            first: Number of the first frame; 0 is the last of the context.
        """
        if first >= self._kept[0].step:
            return torch.stack([moment.frame for moment in self._kept if moment.step >= first], dim=1)
        again = self.fork()
        seen: list[Tensor] = []
        again._play_again(self.steps, lambda moment: seen.append(moment.frame))
        return torch.stack(seen[first:], dim=1)

    def _play_again(self, target: int, see: Callable[[_Moment], None] = lambda moment: None) -> None:
        """Play the first ``target`` recorded steps from the start."""
        rows, settings, config = self._actions, self._settings, self.config
        self._begin()
        see(self._kept[-1])
        for step in range(target):
            self._set_config(next(entry for start, entry in reversed(settings) if start <= step))
            self.step([row[step] for row in rows])
            see(self._kept[-1])
        self._set_config(config)

    def _set_config(self, config: RolloutConfig) -> None:
        if config != self.config:
            self.config, self._stepper = config, None

    def _resume(self, config: RolloutConfig) -> FrameStepper:
        now = self._kept[-1]
        state = RolloutState(now.window, tuple(() for _ in self._actions), now.generators)
        return FrameStepper.resume(self.world, state, config)

    def _list_recent_actions(self, now: _Moment, actions: list[int]) -> Tensor:
        """Return the actions that the prediction may read, those of the next frame last: (b, n)."""
        reach = now.window.frames.shape[1]
        pairs = zip(self._actions, actions, strict=True)
        return torch.tensor([[*own[max(0, len(own) - reach) :], chosen] for own, chosen in pairs])

    def _check_action(self, action: int | Sequence[int]) -> list[int]:
        items = len(self._actions)
        actions = [action] * items if isinstance(action, int) else [int(one) for one in action]
        if len(actions) != items:
            raise ValueError(f"action: {len(actions)} given for {items} sessions; give one, or one for each.")
        for one in actions:
            if not 0 <= one < self.world.n_actions:
                raise ValueError(
                    f"action: {one} is not one of this world; ids run from 0 to {self.world.n_actions - 1}."
                )
        return actions


def _check_config(world: World, config: RolloutConfig) -> None:
    """Refuse settings that cannot be played.

    Raises:
        ValueError: The horizon is not 1, teacher forcing is on, or the world's format lacks a setting.
    """
    check_playable(config)
    world.check_config(config)


def _check_window(world: World, config: RolloutConfig, window: Window) -> None:
    available = window.frames.shape[1]
    if config.context_window > available and not world.grows_window:
        raise ValueError(f"context_window: {config.context_window} frames, but the session began with {available}.")
