"""Prediction in the legacy format: the next frame's latents are regressed, with the action added to all latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from ..networks.latent_actions import require_action_model
from ..predictor import Prediction, Window, run_once
from ..rollout_config import RolloutConfig
from .networks import LegacyActionModel, LegacyDynamics, LegacyTokenizer

__all__ = ["LegacyPredictor"]


class LegacyPredictor:
    """Quantise the window, add the action's vector to all of it, regress the next latents, decode them alone."""

    def __init__(
        self,
        tokenizer: LegacyTokenizer,
        latent_actions: LegacyActionModel | None,
        dynamics: LegacyDynamics,
        config: RolloutConfig,
    ) -> None:
        self.tokenizer, self.dynamics, self.config = tokenizer, dynamics, config
        self.actions = require_action_model(latent_actions)
        self.dtype = dynamics.decoder.latent_embed.weight.dtype

    def make_window(self, frames: Tensor) -> Window:
        """Return the window of frames, with their latents when they are fed back."""
        return Window(frames, self._encode(frames) if self.config.feedback == "tokens" else None)

    def tokenize_last(self, frames: Tensor) -> Tensor:
        """Return the digits (b, p, l) of the last frame."""
        return self.tokenizer.encode(frames.to(self.dtype))[1][:, -1]

    def reconstruct_last(self, frames: Tensor) -> Tensor:
        """Return the last frame as the tokenizer gives it back."""
        return self.tokenizer.decode(self._encode(frames)[:, -1:])[:, 0].float()

    def infer_last_action(self, frames: Tensor) -> Tensor:
        """Return the action (b,) before the last frame, which the legacy program read from its two frames alone."""
        return self.actions.infer(frames[:, -2:].to(self.dtype))[:, -1]

    def predict(  # the protocol's signature, as every predictor states it
        self,
        window: Window,
        history: Tensor | None,
        generators: Sequence[Generator],
        on_step: Callable[[int], None] | None = None,
        masked_frames: Tensor | None = None,
    ) -> Prediction:
        """Predict the next frame; see :meth:`Predictor.predict`."""
        if on_step is not None:
            on_step(0)
        latents = self._encode(window.frames) if window.cached is None else window.cached
        if history is not None:
            latents = latents + self.actions.look_up_vectors(history[:, -1])[:, None, None]
        if masked_frames is not None:
            latents = latents.masked_fill(masked_frames[:, :, None, None], 0)
        following = self.dynamics(latents)
        if self.config.latent_noise:
            following = following + self.config.latent_noise * self._draw_noise(following, generators)
        following = following[:, -1:]
        frames = self.tokenizer.decode(following).float()
        frames = frames.clamp(-1, 1) if self.config.clamp else frames
        codes, digits = self.tokenizer.quantize(following)
        return Prediction(frames, digits, window.advance(frames, codes, self.config.context_window))

    def _encode(self, frames: Tensor) -> Tensor:
        return run_once(lambda video: self.tokenizer.encode(video)[0], frames.to(self.dtype))

    def _draw_noise(self, like: Tensor, generators: Sequence[Generator]) -> Tensor:
        """Draw noise for the last frame; with ``draw="all"`` for all frames, of which only the last is used."""
        shape = like.shape[1:] if self.config.draw == "all" else like.shape[2:]
        noise = [torch.randn(shape, generator=generator) for generator in generators]
        return torch.stack(noise).view(len(noise), -1, *like.shape[2:]).to(like)
