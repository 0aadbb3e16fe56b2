"""Rolling a world forward: each new frame is predicted from a window of frames that end in the world's own output.

:func:`rollout` checks the input, keeps account of frames, actions, random numbers and progress, and asks the world's
predictor for each next frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .actions import ActionPolicy, Actions, choose_action, list_explicit_actions
from .frames import check_context
from .predictor import Window
from .rollout_config import RolloutConfig, check_minimum, check_range, override_config
from .stepper import FrameStepper, RolloutState, make_generators
from .world import World

__all__ = ["Rollout", "RolloutProgress", "RolloutState", "rollout"]

_MOST_STEPS = 100_000


@dataclass(frozen=True)
class RolloutProgress:
    """What a rollout is doing.

    Attributes:
        step: Prediction, from 0.
        steps: Predictions of the whole rollout.
        maskgit_step: Decoding step within the prediction, from 0; equal to maskgit_steps when its frames are decoded.
        maskgit_steps: Decoding steps of a prediction.
        finished: The newest frames (b, horizon, 3, S, S) once they are decoded.
    """

    step: int
    steps: int
    maskgit_step: int
    maskgit_steps: int
    finished: Tensor | None = None


@dataclass(frozen=True)
class Rollout:
    """What a rollout returns.

    Attributes:
        frames: (b, context + n, 3, S, S) in [-1, 1] (unless clamp is off), context first, float32 on the CPU.
        context_frames: How many of them are context.
        actions: (b, n) int64, or None for a rollout without actions.
        tokens: (b, n, p) int64 of the new frames; digits (b, n, p, l) in the legacy format.
        state: Give it to :func:`rollout` in place of the context to resume.
    """

    frames: Tensor
    context_frames: int
    actions: Tensor | None
    tokens: Tensor
    state: RolloutState

    @property
    def new_frames(self) -> Tensor:
        """The predicted frames without the context."""
        return self.frames[:, self.context_frames :]


def rollout(  # noqa: PLR0913 - what a caller changes from call to call; the rest is RolloutConfig
    world: World,
    context: Tensor | RolloutState,
    *,
    steps: int = 10,
    actions: Actions = "diversity",
    seed: int | Sequence[int] = 0,
    batch: int | None = None,
    on_progress: Callable[[RolloutProgress], None] | None = None,
    config: RolloutConfig | None = None,
    **settings: object,
) -> Rollout:
    """Predict ``steps * horizon`` frames, each from the window that ends in the last.

    Args:
        world: To roll out.
        context: Frames (b, t, 3, S, S) or (t, 3, S, S) in [-1, 1], at least ``context_window`` of them; or the state
            of an earlier rollout, which is resumed as if it had never stopped.
        steps: Predictions.
        actions: ids, for all rollouts or a row for each (a list that is too short repeats its last id); a rule of
            :func:`choose_action`; or None for a world without actions.
        seed: Item i of a batch uses seed + i, or the i-th of a list. Nothing else is random, and no other random
            number generator of the process is touched. Item i does not depend on the size of the batch.
        batch: Run that many rollouts of one context.
        on_progress: Called before every decoding step and after every prediction; what it raises ends the rollout.
        config: The settings.
        **settings: Fields of :class:`RolloutConfig`, which replace those of ``config``.

    Raises:
        ValueError: Input that does not fit the world, in one sentence that says what to change.
    """
    config = override_config(config or RolloutConfig(), settings)
    check_range("steps", steps, 1, _MOST_STEPS)
    if batch is not None:
        check_minimum("batch", batch, 1)
    world.check_config(config)
    explicit = list_explicit_actions(actions, world.n_actions)
    if isinstance(context, RolloutState):
        start = _resume(world, context, config)
    else:
        start = _start(world, check_context(world, context, config, steps), explicit, _Items(seed, batch), config)
    rule = actions if isinstance(actions, str) else None
    return _roll(start, _Policy(explicit or rule, world.n_actions, config), steps, on_progress)


@dataclass(frozen=True)
class _Start:
    """The frames that a rollout begins with (all true frames with teacher forcing), and what steps from there."""

    context: Tensor
    stepper: FrameStepper


@dataclass(frozen=True)
class _Items:
    """The seeds of a batch, and its size where the caller gave one."""

    seed: int | Sequence[int]
    batch: int | None


@dataclass(frozen=True)
class _Policy:
    """Chooses the actions of the next frames."""

    actions: ActionPolicy | list[list[int]] | None
    n_actions: int
    config: RolloutConfig

    def extend(self, history: list[list[int]], chosen: int, generators: list[Generator]) -> Tensor | None:
        """Append one action for each new frame to every history and return them all, (b, n)."""
        if self.actions is None:
            return None
        for item, (own, generator) in enumerate(zip(history, generators, strict=True)):
            for ahead in range(self.config.horizon):
                own.append(self._choose(item, own, chosen + ahead, generator))
        return torch.tensor(history)

    def _choose(self, item: int, own: list[int], number: int, generator: Generator) -> int:
        if isinstance(self.actions, str):
            return choose_action(self.actions, own, self.n_actions, generator, self.config.action_diversity)
        assert self.actions is not None
        row = self.actions[item if len(self.actions) > 1 else 0]
        return row[min(number, len(row) - 1)]


def _roll(start: _Start, policy: _Policy, steps: int, on_progress: Callable[[RolloutProgress], None] | None) -> Rollout:
    stepper, config = start.stepper, policy.config
    context = start.context[:, : config.context_window] if config.teacher_forced else start.context
    b, horizon, first = len(stepper.history), config.horizon, context.shape[1]
    frames = torch.empty(b, first + steps * horizon, *context.shape[2:])
    frames[:, :first] = context
    tokens: list[Tensor] = []
    decoding_steps = stepper.world.count_decoding_steps(config)
    for step in range(steps):
        new = slice(step * horizon, (step + 1) * horizon)
        if config.teacher_forced and step:
            stepper.window = stepper.look_at(start.context[:, new.start : new.start + config.context_window])
        history = policy.extend(stepper.history, new.start, stepper.generators.actions)
        report = None if on_progress is None else _make_reporter(on_progress, step, steps, decoding_steps)
        prediction = stepper.step(history, report)
        newest = frames[:, first + new.start : first + new.stop].copy_(prediction.frames)
        tokens.append(prediction.tokens)  # fetched together at the end: a step waits for its frames only
        if on_progress is not None:
            on_progress(RolloutProgress(step, steps, decoding_steps, decoding_steps, newest))
    chosen = [own[-steps * horizon :] for own in stepper.history]
    return Rollout(
        frames=frames,
        context_frames=first,
        actions=None if policy.actions is None else torch.tensor(chosen),
        tokens=torch.cat(tokens, dim=1).cpu(),
        state=stepper.save(),
    )


def _make_reporter(
    on_progress: Callable[[RolloutProgress], None], step: int, steps: int, decoding_steps: int
) -> Callable[[int], None]:
    return lambda number: on_progress(RolloutProgress(step, steps, number, decoding_steps))


def _start(
    world: World, frames: Tensor, explicit: list[list[int]] | None, items: _Items, config: RolloutConfig
) -> _Start:
    seed = items.seed
    sizes = {
        "context": frames.shape[0],
        "actions": len(explicit or [()]),
        "seed": 1 if isinstance(seed, int) else len(seed),
        "batch": 1 if items.batch is None else items.batch,
    }
    rollouts = max(sizes.values())
    for name, size in sizes.items():
        if size not in (1, rollouts):
            raise ValueError(f"{name}: {size} rollouts, but another input has {rollouts}; give 1 or {rollouts}.")
    seeds = [seed + i for i in range(rollouts)] if isinstance(seed, int) else list(seed) * (rollouts // len(seed))
    frames = frames.expand(rollouts, -1, -1, -1, -1)
    first = frames[:, : config.context_window] if config.teacher_forced else frames[:, -config.context_window :]
    window = Window(first)
    return _Start(frames, FrameStepper(world, window, config, [[] for _ in seeds], make_generators(seeds, config)))


def _resume(world: World, state: RolloutState, config: RolloutConfig) -> _Start:
    if config.teacher_forced:
        raise ValueError("teacher_forced: a rollout that is resumed has no true frames; give frames as the context.")
    stepper = FrameStepper.resume(world, state, config)
    return _Start(stepper.window.frames, stepper)
