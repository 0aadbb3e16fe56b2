"""How one more frame comes about: the MaskGIT engine of the current format and the regression of July 2025."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Generator, Tensor

from .actions import infer_actions
from .dynamics import DynamicsModel
from .latent_actions import action_vectors
from .legacy.networks import JulyActionModel, JulyDynamics, JulyTokenizer
from .maskgit import decode
from .rollout_config import RolloutConfig
from .tokenizer import VideoTokenizer
from .world import World

__all__ = ["Engine", "Prediction", "Window", "engine_for"]


@dataclass(frozen=True)
class Window:
    """The frames (b, w, 3, S, S) that the next prediction sees, and with token feedback what they are in latent space.

    ``kept`` is (b, w, p) tokens in the current format, (b, w, p, l) latents in that of July 2025, or None.
    """

    frames: Tensor
    kept: Tensor | None = None

    def after(self, frames: Tensor, kept: Tensor | None, size: int) -> Window:
        """Return the window moved on by new frames; a size of 0 forgets nothing."""
        moved = torch.cat([self.frames, frames], dim=1)[:, -size:]
        if self.kept is None or kept is None:
            return Window(moved)
        return Window(moved, torch.cat([self.kept, kept], dim=1)[:, -size:])

    def last(self, size: int) -> Window:
        """Return the last ``size`` frames of the window (0: all)."""
        return Window(self.frames[:, -size:], None if self.kept is None else self.kept[:, -size:])


@dataclass(frozen=True)
class Prediction:
    """New frames (b, horizon, 3, S, S) float32, their tokens or digits, and the window that ends in them."""

    frames: Tensor
    tokens: Tensor
    window: Window


class Engine(Protocol):
    """Predicts from a window, and measures what a diagnosis asks of each format."""

    def open(self, frames: Tensor) -> Window:
        """Return the window that given frames make."""

    def tokens(self, frames: Tensor) -> Tensor:
        """Return the tokens of the last of frames (b, t, 3, S, S): (b, p), digits (b, p, l) in the July format."""

    def reconstructed(self, frames: Tensor) -> Tensor:
        """Encode and decode frames (b, t, 3, S, S) and return the last, (b, 3, S, S) float32, not clamped."""

    def last_action(self, frames: Tensor) -> Tensor:
        """Return the action, (b,), that the latent action model sees before the last of frames (b, t, 3, S, S)."""

    def step(
        self,
        window: Window,
        history: Tensor | None,
        generators: Sequence[Generator],
        on_pass: Callable[[int], None] | None = None,
        hidden: Tensor | None = None,
    ) -> Prediction:
        """Predict the next frames.

        Args:
            history: (b, n) all actions chosen so far, those of the new frames last, or None.
            hidden: (b, w) bool, frames of the window whose content is withheld from the dynamics model.
        """


def engine_for(world: World, config: RolloutConfig) -> Engine:
    """Return the engine of a world's format."""
    return (JulyEngine if world.generation == "july" else MaskgitEngine)(world, config)


class MaskgitEngine:
    """Tokenise the window, decode the next tokens from its memory, turn them into pixels."""

    def __init__(self, world: World, config: RolloutConfig) -> None:
        self.world, self.config = world, config
        self.tokenizer = cast(VideoTokenizer, world.tokenizer)
        self.dynamics = cast(DynamicsModel, world.dynamics)

    def open(self, frames: Tensor) -> Window:
        return Window(frames, self._tokens(frames) if self.config.feedback == "tokens" else None)

    def tokens(self, frames: Tensor) -> Tensor:
        return self._tokens(frames)[:, -1]

    def reconstructed(self, frames: Tensor) -> Tensor:
        return self.tokenizer.detokenize(self._tokens(frames), last=1)[:, 0].float()

    def last_action(self, frames: Tensor) -> Tensor:
        return infer_actions(self.world, frames)[:, -1]

    def step(
        self,
        window: Window,
        history: Tensor | None,
        generators: Sequence[Generator],
        on_pass: Callable[[int], None] | None = None,
        hidden: Tensor | None = None,
    ) -> Prediction:
        tokenizer, horizon = self.tokenizer, self.config.horizon
        seen = self._tokens(window.frames) if window.kept is None else window.kept
        latents = tokenizer.latents(seen)
        if hidden is not None:
            latents = self.dynamics.masked(latents, hidden.unsqueeze(-1))
        decoded = decode(
            self.dynamics,
            latents,
            None if history is None else self._action_vectors(window.frames, history),
            self.config,
            to_latents=tokenizer.latents,
            generators=generators,
            on_pass=on_pass,
        )
        frames = tokenizer.detokenize(torch.cat([seen, decoded.tokens], dim=1), last=horizon).float()
        frames = frames.clamp(-1, 1) if self.config.clamp else frames
        return Prediction(frames, decoded.tokens, window.after(frames, decoded.tokens, self.config.context_window))

    def _tokens(self, frames: Tensor) -> Tensor:
        return _once(self.tokenizer.tokenize, frames.to(self.world.dtype))

    def _action_vectors(self, frames: Tensor, history: Tensor) -> Tensor:
        """Return a vector for every transition of the window: the chosen actions, before them those of the clip."""
        needed = frames.shape[1] - 1 + self.config.horizon
        known = self.config.horizon if self.config.context_actions == "inferred" else min(needed, history.shape[1])
        ids = history[:, history.shape[1] - known :]
        if known < needed:
            inferred = _once(lambda clip: infer_actions(self.world, clip), frames[:, : needed - known + 1])
            ids = torch.cat([inferred, ids], dim=1)
        return action_vectors(ids, self.dynamics.config.action_dim).to(self.world.dtype)


class JulyEngine:
    """Quantise the window, add the action's vector to all of it, regress the next latents, decode them alone."""

    def __init__(self, world: World, config: RolloutConfig) -> None:
        self.world, self.config = world, config
        self.tokenizer = cast(JulyTokenizer, world.tokenizer)
        self.actions = cast(JulyActionModel, world.latent_actions)
        self.dynamics = cast(JulyDynamics, world.dynamics)

    def open(self, frames: Tensor) -> Window:
        return Window(frames, self._latents(frames) if self.config.feedback == "tokens" else None)

    def tokens(self, frames: Tensor) -> Tensor:
        return self.tokenizer.encode(frames.to(self.world.dtype))[1][:, -1]

    def reconstructed(self, frames: Tensor) -> Tensor:
        return self.tokenizer.decode(self._latents(frames)[:, -1:])[:, 0].float()

    def last_action(self, frames: Tensor) -> Tensor:
        # the July program read an action from its two frames alone
        return infer_actions(self.world, frames[:, -2:])[:, -1]

    def step(
        self,
        window: Window,
        history: Tensor | None,
        generators: Sequence[Generator],
        on_pass: Callable[[int], None] | None = None,
        hidden: Tensor | None = None,
    ) -> Prediction:
        if on_pass is not None:
            on_pass(0)
        latents = self._latents(window.frames) if window.kept is None else window.kept
        if history is not None:
            latents = latents + self.actions.vectors(history[:, -1])[:, None, None]
        if hidden is not None:
            latents = latents.masked_fill(hidden[:, :, None, None], 0)
        following = self.dynamics(latents)
        if self.config.latent_noise:
            following = following + self.config.latent_noise * self._noise(following, generators)
        following = following[:, -1:]
        frames = self.tokenizer.decode(following).float()
        frames = frames.clamp(-1, 1) if self.config.clamp else frames
        kept, digits = self.tokenizer.quantize(following)
        return Prediction(frames, digits, window.after(frames, kept, self.config.context_window))

    def _latents(self, frames: Tensor) -> Tensor:
        return _once(lambda clip: self.tokenizer.encode(clip)[0], frames.to(self.world.dtype))

    def _noise(self, like: Tensor, generators: Sequence[Generator]) -> Tensor:
        """Draw noise for the last frame; with ``draw="all"`` for all frames, of which the last counts, as in July."""
        shape = like.shape[1:] if self.config.draw == "all" else like.shape[2:]
        noise = [torch.randn(shape, generator=generator) for generator in generators]
        return torch.stack(noise).view(len(noise), -1, *like.shape[2:]).to(like)


def _once(run: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Run a batch that is one clip expanded (all rollouts of a batch at their first step) a single time."""
    if frames.shape[0] > 1 and frames.stride(0) == 0:
        result = run(frames[:1])
        return result.expand(frames.shape[0], *result.shape[1:])
    return run(frames)
