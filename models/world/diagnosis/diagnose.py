"""Why a rollout gets worse: the same true video predicted in four ways, and what tells their causes apart.

* ``tokenizer``: true frames encoded and decoded, the best that anything after the tokenizer can reach;
* ``one step``: every frame predicted from true frames (teacher forcing);
* ``pixels``: a rollout that feeds decoded frames back; ``tokens``: a rollout that feeds tokens back.

Beside them: how many tokens change when a predicted frame is tokenised again, what masking context frames costs, and
whether actions change anything. Differences are measured on frames limited to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import get_args

import torch
from einops import rearrange, repeat
from torch import Generator, Tensor

from ..frames import check_context
from ..play.record import SessionRecord, replay
from ..rollout import Rollout, RolloutProgress, rollout
from ..rollout_config import Feedback, RolloutConfig
from ..world import World
from .psnr import measure_squared_error, to_psnr
from .report import ARMS, ActionEffect, Diagnosis

__all__ = ["Metric", "diagnose"]

Metric = Callable[[Tensor, Tensor], Tensor]

_KEPT = 0.75  # share of context frames that the masking test of the legacy program kept
_CONTEXTS = 8  # starting points at which all actions are tried
_WINDOWS_AT_ONCE = 32  # bounds memory


@torch.no_grad()
def diagnose(
    world: World,
    frames: Tensor,
    *,
    config: RolloutConfig | None = None,
    seed: int = 0,
    metrics: Mapping[str, Metric] | None = None,
    on_progress: Callable[[RolloutProgress], None] | None = None,
    session: SessionRecord | None = None,
) -> Diagnosis:
    """Predict a true video in four ways and compare.

    With a ``session``, the video shows what its actions truly do: the actions are not inferred, and of the two
    rollouts the one with the session's feedback is the session as it was played.

    Args:
        world: To diagnose.
        frames: (b, t, 3, S, S) or (t, 3, S, S) in [-1, 1], more than ``context_window`` of them; several videos give
            steadier figures. Their actions are inferred by the latent action model (without one: no actions).
        config: As for :func:`rollout`; one frame is predicted at a time, and the arms set the feedback.
        seed: Of sampling and of the frames that the masking test masks.
        metrics: Measures of likeness besides PSNR, by their names; each takes predicted and true frames
            (b, n, 3, S, S) in [-1, 1] and returns (b, n).
        on_progress: As for :func:`rollout`.
        session: That was played, of one item; config and seed are its own, those given here do not count.

    Raises:
        ValueError: The video does not fit the world or is too short, or does not have the session's length.
    """
    if session is not None:
        config, seed = session.settings[0][1], session.seed
    config = replace(config or RolloutConfig(), horizon=1, teacher_forced=False, context_actions="history")
    videos = check_context(world, frames, config, steps=1)
    window = config.context_window
    if window == 0 or videos.shape[1] <= window:
        raise ValueError(
            f"frames: {videos.shape[1]} given with context_window {window}; give a video longer than the window, "
            "and a window of at least 1."
        )
    probe = _Probe(world, videos.to(world.device), config, seed, session)
    arms = {"truth": probe.videos[:, window:], "tokenizer": probe.reconstruct(), "one step": probe.predict_one_step()}
    rollouts = {feedback: probe.roll_out(feedback, on_progress) for feedback in get_args(Feedback)}
    arms |= {feedback: result.new_frames.to(world.device) for feedback, result in rollouts.items()}
    every = {arm: measure_squared_error(arms[arm], arms["truth"]).cpu() for arm in ARMS}
    errors = {arm: error.mean(0) for arm, error in every.items()}
    scores = {"PSNR": {arm: to_psnr(error) for arm, error in every.items()}}
    scores |= {
        name: {arm: measure(arms[arm], arms["truth"]).cpu() for arm in ARMS}
        for name, measure in (metrics or {}).items()
    }
    masked = measure_squared_error(probe.predict_one_step(mask=True), arms["truth"]).mean()
    return Diagnosis(
        mse=errors,
        first_frame=window,
        frames={name: videos[0].float().cpu() for name, videos in arms.items()},
        flip_rate=probe.measure_flip_rate(rollouts["pixels"]),
        masked_loss=float(to_psnr(errors["one step"].mean()) - to_psnr(masked)),
        actions=None if probe.actions is None else probe.measure_action_effect(),
        scores=scores,
    )


class _Probe:
    """One world and the windows of true videos: (b, t) frames become b (t - w) windows of w + 1."""

    def __init__(
        self, world: World, videos: Tensor, config: RolloutConfig, seed: int, session: SessionRecord | None
    ) -> None:
        self.world, self.videos, self.config, self.seed, self.b = world, videos, config, seed, videos.shape[0]
        self.session = session
        size = config.context_window + 1
        self.windows = rearrange(videos.unfold(1, size, 1), "b n c h w t -> (b n) t c h w")
        self.predictor = world.make_predictor(config)
        self.actions: Tensor | None = None
        if session is not None:
            self.actions = _read_actions(session, self.b, videos.shape[1] - config.context_window).to(videos.device)
        elif world.latent_actions is not None:
            actions = _run_in_parts(self.predictor.infer_last_action, self.windows)
            self.actions = rearrange(actions, "(b n) -> b n", b=self.b)

    def reconstruct(self) -> Tensor:
        """Encode and decode every window; return its last frame, (b, n, 3, S, S)."""
        return self._to_videos(_run_in_parts(self.predictor.reconstruct_last, self.windows))

    def predict_one_step(self, mask: bool = False) -> Tensor:
        """Predict the last frame of every window from the others, (b, n, 3, S, S)."""
        given = None if self.actions is None else rearrange(self.actions, "b n -> (b n) 1")
        return self._to_videos(self._predict(self.windows[:, :-1], given, mask))

    def roll_out(self, feedback: Feedback, on_progress: Callable[[RolloutProgress], None] | None) -> Rollout:
        """Roll the videos' first windows out to their ends, with their own actions."""
        context = self.videos[:, : self.config.context_window]
        if self.session is not None and self.session.settings[-1][1].feedback == feedback:
            return replay(self.world, context, self.session, on_progress)
        return rollout(
            self.world,
            context,
            steps=self.videos.shape[1] - self.config.context_window,
            actions=None if self.actions is None else self.actions.tolist(),
            seed=self.seed,
            on_progress=on_progress,
            config=replace(self.config, feedback=feedback),
        )

    def measure_flip_rate(self, result: Rollout) -> float:
        """Compare the tokens of predicted frames with those of the same frames in the rollout's next window."""
        size, device = self.config.context_window, self.videos.device
        ends = result.frames.to(device).unfold(1, size, 1)[:, 1:]
        again = _run_in_parts(self.predictor.tokenize_last, rearrange(ends, "b n c h w t -> (b n) t c h w"))
        return float((again != rearrange(result.tokens.to(device), "b n ... -> (b n) ...")).float().mean())

    def measure_action_effect(self) -> ActionEffect:
        """Try all actions in a few contexts."""
        at = torch.linspace(0, len(self.windows) - 1, min(_CONTEXTS, len(self.windows))).round().long()
        windows, n = self.windows[at], self.world.n_actions
        tried = repeat(torch.arange(n, device=windows.device), "n -> (k n) 1", k=len(at))
        following = self._predict(repeat(windows[:, :-1], "k t c h w -> (k n) t c h w", n=n), tried, mask=False)
        following = rearrange(following, "(k n) c h w -> k n c h w", n=n)
        apart = measure_squared_error(following.unsqueeze(2), following.unsqueeze(1)).mean(0).sqrt()
        errors = measure_squared_error(following, windows[:, -1:])
        true = torch.nn.functional.one_hot(self.actions.flatten()[at], n).bool()  # type: ignore[union-attr]
        others = errors[~true].mean() if n > 1 else errors.mean()
        return ActionEffect(
            between_actions=float(apart.sum() / max(n * (n - 1), 1)),
            between_frames=float(measure_squared_error(windows[:, -1], windows[:, -2]).mean().sqrt()),
            gain=float(to_psnr(errors[true].mean()) - to_psnr(others)),
        )

    def _predict(self, contexts: Tensor, actions: Tensor | None, mask: bool) -> Tensor:
        parts = []
        generator = Generator().manual_seed(self.seed % 2**64)
        for start in range(0, len(contexts), _WINDOWS_AT_ONCE):
            part = slice(start, start + _WINDOWS_AT_ONCE)
            window = self.predictor.make_window(contexts[part])
            count = len(window.frames)
            masked = torch.rand(count, contexts.shape[1], generator=generator) >= _KEPT if mask else None
            prediction = self.predictor.predict(
                window,
                None if actions is None else actions[part],
                [Generator().manual_seed((self.seed + start + i) % 2**64) for i in range(count)],
                masked_frames=None if masked is None else masked.to(contexts.device),
            )
            parts.append(prediction.frames[:, 0])
        return torch.cat(parts)

    def _to_videos(self, frames: Tensor) -> Tensor:
        return rearrange(frames, "(b n) c h w -> b n c h w", b=self.b)


def _read_actions(session: SessionRecord, items: int, steps: int) -> Tensor:
    if len(session.actions) != items or session.steps != steps:
        raise ValueError(
            f"session: {len(session.actions)} of {session.steps} steps, but {items} videos with {steps} frames after "
            "the context; give what the same actions truly do, from the same context."
        )
    return torch.tensor(session.actions)


def _run_in_parts(run: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    return torch.cat([run(part) for part in windows.split(_WINDOWS_AT_ONCE)])
