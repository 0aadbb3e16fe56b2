"""The frame step: the one place where a world's next frames are predicted and everything that this changes is kept.

:func:`rollout` takes steps in a loop, a :class:`WorldSession` takes one whenever somebody acts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .predictor import Prediction, Window
from .rollout_config import RolloutConfig
from .world import World

__all__ = ["FrameStepper", "Generators", "RolloutState", "make_generators"]

_TOKEN_SEED_OFFSET = 0x9E3779B97F4A7C15  # keeps the tokens' seeds away from the actions' seeds of other items


@dataclass(frozen=True)
class RolloutState:
    """Where a rollout stopped, to resume it from.

    Attributes:
        window: The last frames.
        history: For each rollout, its actions so far.
        generators: For each rollout, the states of the generators for actions and for tokens.
    """

    window: Window
    history: tuple[tuple[int, ...], ...]
    generators: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class Generators:
    """Random numbers of each rollout: one generator for its actions and one for its tokens."""

    actions: list[Generator]
    tokens: list[Generator]

    def save(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Return the states of all generators."""
        pairs = zip(self.actions, self.tokens, strict=True)
        return tuple((for_actions.get_state(), for_tokens.get_state()) for for_actions, for_tokens in pairs)

    @classmethod
    def restore(cls, saved: tuple[tuple[Tensor, Tensor], ...], config: RolloutConfig) -> Generators:
        """Return generators that continue where others were saved."""
        for_actions = [_restore(state) for state, _ in saved]
        return cls(for_actions, for_actions if config.draw == "all" else [_restore(state) for _, state in saved])


def make_generators(seeds: Sequence[int], config: RolloutConfig) -> Generators:
    """Return the generators of rollouts with these seeds."""
    for_actions = [Generator().manual_seed(seed % 2**64) for seed in seeds]
    # Tokens have generators of their own, so that a temperature does not change the actions; the original has one
    # for both, and draw="all" reproduces it.
    apart = [Generator().manual_seed((seed + _TOKEN_SEED_OFFSET) % 2**64) for seed in seeds]
    return Generators(for_actions, for_actions if config.draw == "all" else apart)


class FrameStepper:
    """A world on its way from frame to frame: its window, the actions so far, its random numbers.

    Attributes:
        window: The context of the next prediction.
        history: For each rollout, its actions so far; the caller appends those of the next frames.
        generators: Of each rollout.
    """

    def __init__(
        self, world: World, window: Window, config: RolloutConfig, history: list[list[int]], generators: Generators
    ) -> None:
        """Begin at a window.

        Args:
            world: To step.
            window: Frames, with their tokens where they are known.
            config: How frames are predicted.
            history: For each rollout, its actions so far.
            generators: Of each rollout.
        """
        self.world, self.history, self.generators = world, history, generators
        self._predictor, window = world.make_predictor(config), window.to(world.device)
        self.window = self.look_at(window.frames) if config.feedback == "tokens" and window.cached is None else window

    @classmethod
    def resume(cls, world: World, state: RolloutState, config: RolloutConfig) -> FrameStepper:
        """Continue where an earlier rollout stopped, perhaps with other settings.

        Raises:
            ValueError: The settings need more frames than the earlier rollout kept.
        """
        available = state.window.frames.shape[1]
        if config.context_window > available and not world.grows_window:
            raise ValueError(
                f"context_window: {config.context_window} frames wanted, but the earlier rollout kept {available}; "
                f"use context_window={available} or less, or start from frames."
            )
        window = state.window.crop(config.context_window)
        # With pixel feedback the tokens that an earlier rollout fed back are dropped.
        window = window if config.feedback == "tokens" else Window(window.frames)
        generators = Generators.restore(state.generators, config)
        return cls(world, window, config, [list(own) for own in state.history], generators)

    def look_at(self, frames: Tensor) -> Window:
        """Return the window that true frames (b, w, 3, S, S) make."""
        return self._predictor.make_window(frames.to(self.world.device))

    def step(self, history: Tensor | None, on_step: Callable[[int], None] | None = None) -> Prediction:
        """Predict the next frames and move the window on.

        Args:
            history: (b, n) the last actions, those of the new frames at the end; or None without actions.
            on_step: Called before every decoding step with its number.
        """
        history = None if history is None else history.to(self.world.device)
        with torch.no_grad():
            prediction = self._predictor.predict(self.window, history, self.generators.tokens, on_step)
        self.window = prediction.window
        return prediction

    def save(self) -> RolloutState:
        """Return where it stands, on the CPU."""
        cached = self.window.cached
        kept = Window(self.window.frames.cpu(), None if cached is None else cached.cpu())
        return RolloutState(kept, tuple(tuple(own) for own in self.history), self.generators.save())


def _restore(saved: Tensor) -> Generator:
    generator = Generator()
    generator.set_state(saved)
    return generator
