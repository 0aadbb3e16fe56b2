"""Rolling a world forward: each new frame is predicted from a window of frames that end in the world's own output.

:func:`rollout` checks the input, keeps the books (frames, actions, random numbers, progress) and asks one of two
engines for each next frame: :class:`engines.MaskgitEngine` or :class:`engines.JulyEngine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .actions import ActionPolicy, Actions, choose_action, explicit_rows
from .predictor import Window, engine_for
from .rollout_config import RolloutConfig, at_least, check_generation, checked_frames, with_settings, within
from .world import World

__all__ = ["Rollout", "RolloutProgress", "RolloutState", "rollout"]

_MOST_STEPS = 100_000
_APART = 0x9E3779B97F4A7C15  # keeps the samples' seeds away from the actions' seeds of other items


@dataclass(frozen=True)
class RolloutState:
    """Where a rollout stopped: the window, the actions so far and the random generators, to go on from."""

    window: Window
    history: tuple[tuple[int, ...], ...]
    generators: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class RolloutProgress:
    """What a rollout is doing; ``finished`` holds the newest frames (b, horizon, 3, S, S) once they are decoded."""

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
        context_frames: how many of them are context. actions: (b, n) int64, or None for a rollout without actions.
        tokens: (b, n, p) int64 of the new frames; digits (b, n, p, l) in the July 2025 format.
        state: give it to :func:`rollout` in place of the context to go on.
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
        context: frames (b, t, 3, S, S) or (t, 3, S, S) in [-1, 1], at least ``context_window`` of them; or the state
            of an earlier rollout, which goes on as if it had never stopped.
        actions: ids, for all rollouts or a row for each (a list that is too short repeats its last id); a rule of
            :func:`choose_action`; or None for a world without actions.
        seed: item i of a batch uses seed + i, or the i-th of a list. Nothing else is random, and no other random
            number generator of the process is touched. Item i does not depend on the size of the batch.
        batch: run that many rollouts of one context.
        on_progress: called before every MaskGIT pass and after every frame; what it raises ends the rollout.
        config, settings: a :class:`RolloutConfig`, or its fields as keywords, which win over it.

    Raises:
        ValueError: input that does not fit the world, in one sentence that says what to change.
    """
    config = with_settings(config or RolloutConfig(), settings)
    within("steps", steps, 1, _MOST_STEPS)
    if batch is not None:
        at_least("batch", batch, 1)
    check_generation(world, config)
    rows = explicit_rows(actions, world.n_actions)
    if isinstance(context, RolloutState):
        start = _resumed(world, context, config)
    else:
        start = _started(world, checked_frames(world, context, config, steps), rows, seed, batch, config)
    rule = actions if isinstance(actions, str) else None
    policy = _Policy(rows or rule, world.n_actions, config)
    with torch.no_grad():
        return _roll(world, start, policy, steps, config, on_progress)


@dataclass
class _Start:
    """Everything that changes while a rollout runs, as it stands at the beginning."""

    context: Tensor
    window: Window | None
    history: list[list[int]]
    choosers: list[Generator]
    samplers: list[Generator]


@dataclass(frozen=True)
class _Policy:
    """Chooses the actions of the next frames."""

    actions: ActionPolicy | list[list[int]] | None
    n_actions: int
    config: RolloutConfig

    def extend(self, history: list[list[int]], taken: int, generators: list[Generator]) -> Tensor | None:
        """Append one action for each new frame to every history and return them all, (b, n)."""
        if self.actions is None:
            return None
        for item, (past, generator) in enumerate(zip(history, generators, strict=True)):
            for ahead in range(self.config.horizon):
                past.append(self._next(item, past, taken + ahead, generator))
        return torch.tensor(history)

    def _next(self, item: int, past: list[int], number: int, generator: Generator) -> int:
        if isinstance(self.actions, str):
            return choose_action(self.actions, past, self.n_actions, generator, self.config.action_diversity)
        assert self.actions is not None
        row = self.actions[item if len(self.actions) > 1 else 0]
        return row[min(number, len(row) - 1)]


def _roll(
    world: World,
    start: _Start,
    policy: _Policy,
    steps: int,
    config: RolloutConfig,
    on_progress: Callable[[RolloutProgress], None] | None,
) -> Rollout:
    engine = engine_for(world, config)
    shown = start.context[:, : config.context_window] if config.teacher_forced else start.context
    window = start.window or engine.open(shown[:, -config.context_window :].to(world.device))
    b, horizon = len(start.history), config.horizon
    seen = shown.shape[1]
    frames = torch.empty(b, seen + steps * horizon, *shown.shape[2:])
    frames[:, :seen] = shown
    tokens: list[Tensor] = []
    passes = 1 if world.generation == "july" else config.maskgit_steps
    for step in range(steps):
        new = slice(step * horizon, (step + 1) * horizon)
        if config.teacher_forced and step:
            window = engine.open(start.context[:, new.start : new.start + config.context_window].to(world.device))
        history = policy.extend(start.history, new.start, start.choosers)
        report = None if on_progress is None else _reporter(on_progress, step, steps, passes)
        history = None if history is None else history.to(world.device)
        prediction = engine.step(window, history, start.samplers, report)
        window = prediction.window
        newest = frames[:, seen + new.start : seen + new.stop].copy_(prediction.frames)
        tokens.append(prediction.tokens.cpu())
        if on_progress is not None:
            on_progress(RolloutProgress(step, steps, passes, passes, newest))
    return Rollout(
        frames=frames,
        context_frames=seen,
        actions=None if policy.actions is None else torch.tensor([row[-steps * horizon :] for row in start.history]),
        tokens=torch.cat(tokens, dim=1),
        state=_state(window, start),
    )


def _reporter(
    on_progress: Callable[[RolloutProgress], None], step: int, steps: int, passes: int
) -> Callable[[int], None]:
    return lambda number: on_progress(RolloutProgress(step, steps, number, passes))


def _started(
    world: World,
    frames: Tensor,
    explicit: list[list[int]] | None,
    seed: int | Sequence[int],
    batch: int | None,
    config: RolloutConfig,
) -> _Start:
    sizes = {
        "context": frames.shape[0],
        "actions": len(explicit or [()]),
        "seed": 1 if isinstance(seed, int) else len(seed),
        "batch": 1 if batch is None else batch,
    }
    rows = max(sizes.values())
    for name, size in sizes.items():
        if size not in (1, rows):
            raise ValueError(f"{name}: {size} rollouts, but another input has {rows}; give 1 or {rows}.")
    seeds = [seed + i for i in range(rows)] if isinstance(seed, int) else list(seed) * (rows // len(seed))
    choosers = [Generator().manual_seed(s % 2**64) for s in seeds]
    # Samples have generators of their own, so that a temperature does not change the actions; the original has one
    # for both, and draw="all" reproduces it.
    apart = [Generator().manual_seed((s + _APART) % 2**64) for s in seeds]
    samplers = choosers if config.draw == "all" else apart
    return _Start(frames.expand(rows, -1, -1, -1, -1), None, [[] for _ in range(rows)], choosers, samplers)


def _resumed(world: World, state: RolloutState, config: RolloutConfig) -> _Start:
    if config.teacher_forced:
        raise ValueError("teacher_forced: a rollout that goes on has no true frames; give frames as the context.")
    available = state.window.frames.shape[1]
    if config.context_window > available and world.generation == "current":
        raise ValueError(
            f"context_window: {config.context_window} frames wanted, but the earlier rollout kept {available}; "
            f"use context_window={available} or less, or start from frames."
        )
    window = state.window.last(config.context_window)
    keeps = config.feedback == "tokens"
    # An earlier rollout with the other feedback left no tokens: the engine makes them from the frames.
    start = None if keeps and window.kept is None else window if keeps else Window(window.frames)
    choosers = [_generator(saved) for saved, _ in state.generators]
    samplers = choosers if config.draw == "all" else [_generator(saved) for _, saved in state.generators]
    return _Start(window.frames, start, [list(row) for row in state.history], choosers, samplers)


def _state(window: Window, start: _Start) -> RolloutState:
    generators = zip(start.choosers, start.samplers, strict=True)
    return RolloutState(
        Window(window.frames.cpu(), None if window.kept is None else window.kept.cpu()),
        tuple(tuple(row) for row in start.history),
        tuple((chooser.get_state(), sampler.get_state()) for chooser, sampler in generators),
    )


def _generator(saved: Tensor) -> Generator:
    generator = Generator()
    generator.set_state(saved)
    return generator
