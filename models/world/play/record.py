"""What was played: seed, actions and settings, enough to make every frame again from the same world and context."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..rollout import Rollout, RolloutProgress, rollout
from ..rollout_config import RolloutConfig, override_config
from ..stepper import RolloutState
from ..world import World

__all__ = ["SessionRecord", "check_playable", "read_settings", "replay"]

_FORMAT, _VERSION = "wan_lite.world_session", 1
_MOST_STEPS = 100_000
_MOST_ROLLOUTS = 64


@dataclass(frozen=True)
class SessionRecord:
    """A played session.

    Attributes:
        seed: Item i of a batch has seed + i.
        actions: For each item its actions, all of one length.
        settings: The settings and the step (from 0) from which on each holds; the first at step 0.
    """

    seed: int
    actions: tuple[tuple[int, ...], ...]
    settings: tuple[tuple[int, RolloutConfig], ...]

    @property
    def steps(self) -> int:
        """How many frames were played."""
        return len(self.actions[0])

    def to_json(self, **more: object) -> str:
        """Write the record as JSON; ``more`` entries stand beside it, for example which world it is of."""
        settings: list[dict[str, object]] = []
        for step, config in self.settings:
            fields = asdict(config)
            known = asdict(self.settings[len(settings) - 1][1]) if settings else {}
            changed = {name: value for name, value in fields.items() if known.get(name, _MISSING) != value}
            settings.append({"step": step, **changed})
        record = {"format": _FORMAT, "version": _VERSION, "seed": self.seed, "actions": self.actions}
        return json.dumps({**record, "settings": settings, **more})

    @classmethod
    def from_json(cls, text: str) -> SessionRecord:
        """Read a record from its ``text``.

        Raises:
            ValueError: It is not a record, or an entry is not allowed.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"session: is not JSON ({str(error)[:80]}); give the file that a session wrote."
            ) from error
        if not isinstance(found, dict) or found.get("format") != _FORMAT or found.get("version") != _VERSION:
            raise ValueError(f"session: is not a record of format {_FORMAT}, version {_VERSION}; give one of those.")
        actions = _read_actions(found.get("actions"))
        return cls(_read_seed(found.get("seed")), actions, _read_settings(found.get("settings"), len(actions[0])))


_MISSING = object()


def _read_seed(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError(f"session: the seed is {repr(value)[:40]}; allowed are whole numbers from 0 to 2 ** 64 - 1.")
    return value


def _read_actions(rows: Any) -> tuple[tuple[int, ...], ...]:
    if (
        not isinstance(rows, list)
        or not 0 < len(rows) <= _MOST_ROLLOUTS
        or not all(isinstance(row, list) for row in rows)
    ):
        raise ValueError(f"session: actions must be 1 to {_MOST_ROLLOUTS} lists of ids; give the file a session wrote.")
    if len({len(row) for row in rows}) > 1 or len(rows[0]) > _MOST_STEPS:
        raise ValueError(f"session: lists of actions must have one length of at most {_MOST_STEPS}; shorten them.")
    if any(type(action) is not int or action < 0 for row in rows for action in row):
        raise ValueError("session: an action is not a whole number from 0 on; write ids only.")
    return tuple(tuple(row) for row in rows)


def _read_settings(entries: Any, steps: int) -> tuple[tuple[int, RolloutConfig], ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("session: settings must be a list of objects; give the file that a session wrote.")
    settings: list[tuple[int, RolloutConfig]] = []
    config = RolloutConfig()
    for entry in entries:
        step = entry.get("step")
        least = settings[-1][0] + 1 if settings else 0
        if type(step) is not int or not least <= step <= steps or (not settings and step):
            raise ValueError(f"session: settings of step {repr(step)[:40]}; the first are of step 0, then steps go up.")
        config = read_settings(config, {name: value for name, value in entry.items() if name != "step"})
        check_playable(config)
        settings.append((step, config))
    return tuple(settings) or ((0, config),)


def check_playable(config: RolloutConfig) -> None:
    """Refuse settings that make anything but one frame for each action.

    Raises:
        ValueError: The horizon is not 1, or teacher forcing is on.
    """
    if config.horizon != 1 or config.teacher_forced:
        raise ValueError("horizon, teacher_forced: a session plays one frame for each action; use 1 and off.")


def read_settings(config: RolloutConfig, values: dict[str, Any]) -> RolloutConfig:
    """Return settings with some replaced by values from outside, whose types are checked.

    Raises:
        ValueError: A name, a type or a value is not allowed.
    """
    for name, value in values.items():
        expected = type(getattr(config, name, value))
        if expected is float and type(value) is int:
            values = {**values, name: float(value)}
        elif type(value) is not expected:
            raise ValueError(f"session: {name} is {str(value)[:40]!r}, which is not of type {expected.__name__}.")
    return override_config(config, values)


def replay(
    world: World,
    context: Tensor,
    record: SessionRecord,
    on_progress: Callable[[RolloutProgress], None] | None = None,
) -> Rollout:
    """Make the frames of a session again, with :func:`rollout`.

    Args:
        world: That was played.
        context: The frames (b, t, 3, S, S) in [-1, 1] that the session began with.
        record: Of the session.
        on_progress: As :func:`rollout` calls it, over all steps.

    Raises:
        ValueError: The record holds no steps, or does not fit the world or the context.
    """
    if not record.steps:
        raise ValueError("session: no step was played; play at least one.")
    starts = [step for step, _ in record.settings if step < record.steps]
    parts: list[Rollout] = []
    start: Tensor | RolloutState = context
    for (first, config), stop in zip(record.settings, [*starts[1:], record.steps], strict=False):
        part = rollout(
            world,
            start,
            steps=stop - first,
            actions=[row[first:stop] for row in record.actions],
            seed=record.seed,
            on_progress=None if on_progress is None else _shift_progress(on_progress, first, record.steps),
            config=config,
        )
        parts.append(part)
        start = part.state
    return Rollout(
        frames=torch.cat([parts[0].frames, *(part.new_frames for part in parts[1:])], dim=1),
        context_frames=parts[0].context_frames,
        actions=torch.tensor(record.actions),
        tokens=torch.cat([part.tokens for part in parts], dim=1),
        state=parts[-1].state,
    )


def _shift_progress(
    on_progress: Callable[[RolloutProgress], None], first: int, steps: int
) -> Callable[[RolloutProgress], None]:
    return lambda progress: on_progress(replace(progress, step=progress.step + first, steps=steps))
