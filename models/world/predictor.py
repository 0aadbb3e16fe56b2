"""How the next frames are predicted from a window: the protocol, and MaskGIT decoding of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from .maskgit import decode
from .networks.dynamics import DynamicsModel
from .networks.latent_actions import LatentActionModel, require_action_model, to_action_vectors
from .networks.tokenizer import VideoTokenizer
from .rollout_config import RolloutConfig

__all__ = ["MaskgitPredictor", "Prediction", "Predictor", "Window", "run_once"]


@dataclass(frozen=True)
class Window:
    """The context of the next prediction.

    Attributes:
        frames: (b, w, 3, S, S) in [-1, 1].
        cached: With token feedback, what the frames are in latent space, so that they are not encoded again: tokens
            (b, w, p), or latents (b, w, p, l) in the legacy format. Else None.
    """

    frames: Tensor
    cached: Tensor | None = None

    def advance(self, frames: Tensor, cached: Tensor | None, size: int) -> Window:
        """Return the window moved on by new frames; a size of 0 drops none."""
        moved = torch.cat([self.frames, frames], dim=1)[:, -size:]
        if self.cached is None or cached is None:
            return Window(moved)
        return Window(moved, torch.cat([self.cached, cached], dim=1)[:, -size:])

    def to(self, device: torch.device) -> Window:
        """Return the window on a device."""
        return Window(self.frames.to(device), None if self.cached is None else self.cached.to(device))

    def crop(self, size: int) -> Window:
        """Return the last ``size`` frames of the window (0: all)."""
        return Window(self.frames[:, -size:], None if self.cached is None else self.cached[:, -size:])


@dataclass(frozen=True)
class Prediction:
    """What follows a window.

    Attributes:
        frames: (b, horizon, 3, S, S) float32.
        tokens: Of the frames, (b, horizon, p); digits in the legacy format.
        window: That ends in them.
        confidence: The probability of each token, (b, horizon, p) in [0, 1]; None where tokens are not chosen.
    """

    frames: Tensor
    tokens: Tensor
    window: Window
    confidence: Tensor | None = None


class Predictor(Protocol):
    """Predicts from a window, and measures what a diagnosis asks of each format."""

    def make_window(self, frames: Tensor) -> Window:
        """Return the window that given frames (b, w, 3, S, S) make."""

    def tokenize_last(self, frames: Tensor) -> Tensor:
        """Return the tokens of the last of frames (b, t, 3, S, S): (b, p), digits (b, p, l) in the legacy format."""

    def reconstruct_last(self, frames: Tensor) -> Tensor:
        """Encode and decode frames (b, t, 3, S, S) and return the last, (b, 3, S, S) float32, not clamped."""

    def infer_last_action(self, frames: Tensor) -> Tensor:
        """Return the action (b,) that the latent action model infers before the last of frames (b, t, 3, S, S)."""

    def predict(
        self,
        window: Window,
        history: Tensor | None,
        generators: Sequence[Generator],
        on_step: Callable[[int], None] | None = None,
        masked_frames: Tensor | None = None,
    ) -> Prediction:
        """Predict the next frames.

        Args:
            window: The context.
            history: (b, n) all actions chosen so far, those of the new frames last, or None.
            generators: One for each item, for sampling.
            on_step: Called before each decoding step with its number.
            masked_frames: (b, w) bool, frames of the window whose content the dynamics model is not given.
        """


class MaskgitPredictor:
    """Tokenise the window, decode the next tokens from it, turn them into pixels."""

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        latent_actions: LatentActionModel | None,
        dynamics: DynamicsModel,
        config: RolloutConfig,
    ) -> None:
        self.tokenizer, self.latent_actions, self.dynamics = tokenizer, latent_actions, dynamics
        self.config = config
        self.dtype = dynamics.mask_token.dtype

    def make_window(self, frames: Tensor) -> Window:
        """Return the window of frames, with their tokens when tokens are fed back."""
        return Window(frames, self._tokenize(frames) if self.config.feedback == "tokens" else None)

    def tokenize_last(self, frames: Tensor) -> Tensor:
        """Return the tokens (b, p) of the last frame."""
        return self._tokenize(frames)[:, -1]

    def reconstruct_last(self, frames: Tensor) -> Tensor:
        """Return the last frame as the tokenizer gives it back."""
        return self.tokenizer.detokenize(self._tokenize(frames), last=1)[:, 0].float()

    def infer_last_action(self, frames: Tensor) -> Tensor:
        """Return the action (b,) before the last frame."""
        return self._infer_actions(frames)[:, -1]

    def predict(  # the protocol's signature, as every predictor states it
        self,
        window: Window,
        history: Tensor | None,
        generators: Sequence[Generator],
        on_step: Callable[[int], None] | None = None,
        masked_frames: Tensor | None = None,
    ) -> Prediction:
        """Predict the next frames; see :meth:`Predictor.predict`."""
        tokenizer, horizon = self.tokenizer, self.config.horizon
        context = self._tokenize(window.frames) if window.cached is None else window.cached
        latents = tokenizer.to_latents(context)
        if masked_frames is not None:
            latents = self.dynamics.mask_latents(latents, masked_frames.unsqueeze(-1))
        decoded = decode(
            self.dynamics,
            latents,
            None if history is None else self._make_action_vectors(window.frames, history),
            self.config,
            to_latents=tokenizer.to_latents,
            generators=generators,
            on_step=on_step,
        )
        frames = tokenizer.detokenize(torch.cat([context, decoded.tokens], dim=1), last=horizon).float()
        frames = frames.clamp(-1, 1) if self.config.clamp else frames
        moved = window.advance(frames, decoded.tokens, self.config.context_window)
        return Prediction(frames, decoded.tokens, moved, decoded.confidence)

    def _tokenize(self, frames: Tensor) -> Tensor:
        return run_once(self.tokenizer.tokenize, frames.to(self.dtype))

    def _infer_actions(self, frames: Tensor) -> Tensor:
        return require_action_model(self.latent_actions).infer(frames.to(self.dtype))

    def _make_action_vectors(self, frames: Tensor, history: Tensor) -> Tensor:
        """Return a vector for every transition of the window: of chosen actions, before them of inferred ones."""
        needed = frames.shape[1] - 1 + self.config.horizon
        known = self.config.horizon if self.config.context_actions == "inferred" else min(needed, history.shape[1])
        ids = history[:, history.shape[1] - known :]
        if known < needed:
            inferred = run_once(self._infer_actions, frames[:, : needed - known + 1])
            ids = torch.cat([inferred, ids], dim=1)
        return to_action_vectors(ids, self.dynamics.config.action_dim).to(self.dtype)


def run_once(run: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Run a batch that is one video expanded (all rollouts of a batch at their first step) a single time."""
    if frames.shape[0] > 1 and frames.stride(0) == 0:
        result = run(frames[:1])
        return result.expand(frames.shape[0], *result.shape[1:])
    return run(frames)
