"""Why a rollout gets worse: the same true clip predicted in four ways, and what tells their causes apart.

* ``tokenizer``: true frames encoded and decoded, the best that anything behind the tokenizer can reach;
* ``one step``: every frame predicted from true frames (teacher forcing);
* ``pixels``: a rollout that feeds decoded frames back; ``tokens``: a rollout that feeds tokens back.

Beside them: how many tokens change when a predicted frame is tokenised again, what hiding context frames costs, and
whether actions change anything. Differences are measured on frames limited to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import torch
from einops import rearrange, repeat
from torch import Generator, Tensor

from ..predictor import engine_for
from ..rollout import Rollout, RolloutProgress, rollout
from ..rollout_config import Feedback, RolloutConfig, checked_frames
from ..world import World
from .report import ARMS, ActionEffect, Diagnosis, psnr

__all__ = ["diagnose"]

_KEPT = 0.75  # share of context frames that the masking test of July 2025 kept
_CONTEXTS = 8  # starting points at which all actions are tried
_WINDOWS_AT_ONCE = 32  # bounds memory


@torch.no_grad()
def diagnose(
    world: World,
    frames: Tensor,
    *,
    config: RolloutConfig | None = None,
    seed: int = 0,
    on_progress: Callable[[RolloutProgress], None] | None = None,
) -> Diagnosis:
    """Predict a true clip in four ways and compare.

    Args:
        frames: (b, t, 3, S, S) or (t, 3, S, S) in [-1, 1], more than ``context_window`` of them; several clips give
            steadier numbers. Their actions are inferred by the latent action model (without one: no actions).
        config: as for :func:`rollout`; one frame is predicted at a time, and the arms set the feedback.

    Raises:
        ValueError: the clip does not fit the world or is too short.
    """
    config = replace(config or RolloutConfig(), horizon=1, teacher_forced=False, context_actions="history")
    clips = checked_frames(world, frames, config, steps=1)
    window = config.context_window
    if window == 0 or clips.shape[1] <= window:
        raise ValueError(
            f"frames: {clips.shape[1]} given with context_window {window}; give a clip longer than the window, "
            "and a window of at least 1."
        )
    probe = _Probe(world, clips.to(world.device), config, seed)
    shown = {"truth": probe.clips[:, window:], "tokenizer": probe.ceiling(), "one step": probe.one_step()}
    rollouts = {feedback: probe.rolled(feedback, on_progress) for feedback in get_args(Feedback)}
    shown |= {feedback: result.new_frames.to(world.device) for feedback, result in rollouts.items()}
    errors = {arm: _squared_error(shown[arm], shown["truth"]).mean(0).cpu() for arm in ARMS}
    hidden = _squared_error(probe.one_step(hide=True), shown["truth"]).mean()
    return Diagnosis(
        mse=errors,
        first_frame=window,
        frames={name: clip[0].float().cpu() for name, clip in shown.items()},
        flip_rate=probe.flip_rate(rollouts["pixels"]),
        masked_loss=float(psnr(errors["one step"].mean()) - psnr(hidden)),
        actions=None if probe.actions is None else probe.action_effect(),
    )


class _Probe:
    """One world and the windows of true clips: (b, t) frames become b (t - w) windows of w + 1."""

    def __init__(self, world: World, clips: Tensor, config: RolloutConfig, seed: int) -> None:
        self.world, self.clips, self.config, self.seed, self.b = world, clips, config, seed, clips.shape[0]
        size = config.context_window + 1
        self.windows = rearrange(clips.unfold(1, size, 1), "b n c h w t -> (b n) t c h w")
        self.engine = engine_for(world, config)
        self.actions: Tensor | None = None
        if world.latent_actions is not None:
            seen = _in_parts(self.engine.last_action, self.windows)
            self.actions = rearrange(seen, "(b n) -> b n", b=self.b)

    def ceiling(self) -> Tensor:
        """Encode and decode every window; return its last frame, (b, n, 3, S, S)."""
        return self._clips(_in_parts(self.engine.reconstructed, self.windows))

    def one_step(self, hide: bool = False) -> Tensor:
        """Predict the last frame of every window from the others, (b, n, 3, S, S)."""
        given = None if self.actions is None else rearrange(self.actions, "b n -> (b n) 1")
        return self._clips(self._predict(self.windows[:, :-1], given, hide))

    def rolled(self, feedback: Feedback, on_progress: Callable[[RolloutProgress], None] | None) -> Rollout:
        """Roll the clips' first windows out to their ends, with their own actions."""
        window = self.config.context_window
        return rollout(
            self.world,
            self.clips[:, :window],
            steps=self.clips.shape[1] - window,
            actions=None if self.actions is None else self.actions.tolist(),
            seed=self.seed,
            on_progress=on_progress,
            config=replace(self.config, feedback=feedback),
        )

    def flip_rate(self, result: Rollout) -> float:
        """Compare the tokens of predicted frames with those of the same frames in the rollout's next window."""
        size, device = self.config.context_window, self.clips.device
        ends = result.frames.to(device).unfold(1, size, 1)[:, 1:]
        again = _in_parts(self.engine.tokens, rearrange(ends, "b n c h w t -> (b n) t c h w"))
        return float((again != rearrange(result.tokens.to(device), "b n ... -> (b n) ...")).float().mean())

    def action_effect(self) -> ActionEffect:
        """Try all actions in a few contexts."""
        at = torch.linspace(0, len(self.windows) - 1, min(_CONTEXTS, len(self.windows))).round().long()
        windows, n = self.windows[at], self.world.n_actions
        tried = repeat(torch.arange(n, device=windows.device), "n -> (k n) 1", k=len(at))
        following = self._predict(repeat(windows[:, :-1], "k t c h w -> (k n) t c h w", n=n), tried, hide=False)
        following = rearrange(following, "(k n) c h w -> k n c h w", n=n)
        apart = _squared_error(following.unsqueeze(2), following.unsqueeze(1)).mean(0).sqrt()
        errors = _squared_error(following, windows[:, -1:])
        true = torch.nn.functional.one_hot(self.actions.flatten()[at], n).bool()  # type: ignore[union-attr]
        others = errors[~true].mean() if n > 1 else errors.mean()
        return ActionEffect(
            between_actions=float(apart.sum() / max(n * (n - 1), 1)),
            between_frames=float(_squared_error(windows[:, -1], windows[:, -2]).mean().sqrt()),
            gain=float(psnr(errors[true].mean()) - psnr(others)),
        )

    def _predict(self, contexts: Tensor, actions: Tensor | None, hide: bool) -> Tensor:
        parts = []
        chance = Generator().manual_seed(self.seed % 2**64)
        for start in range(0, len(contexts), _WINDOWS_AT_ONCE):
            part = slice(start, start + _WINDOWS_AT_ONCE)
            window = self.engine.open(contexts[part])
            rows = len(window.frames)
            hidden = torch.rand(rows, contexts.shape[1], generator=chance) >= _KEPT if hide else None
            prediction = self.engine.step(
                window,
                None if actions is None else actions[part],
                [Generator().manual_seed((self.seed + start + i) % 2**64) for i in range(rows)],
                hidden=None if hidden is None else hidden.to(contexts.device),
            )
            parts.append(prediction.frames[:, 0])
        return torch.cat(parts)

    def _clips(self, frames: Tensor) -> Tensor:
        return rearrange(frames, "(b n) c h w -> b n c h w", b=self.b)


def _in_parts(run: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    return torch.cat([run(part) for part in windows.split(_WINDOWS_AT_ONCE)])


def _squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of frames in [-1, 1], measured in [0, 1] after clamping: (..., 3, S, S) -> (...)."""
    return (a.float().clamp(-1, 1) / 2 - b.float().clamp(-1, 1) / 2).square().mean((-3, -2, -1))
