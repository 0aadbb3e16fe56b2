"""The settings of a rollout, and the checks of what a caller gives it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from torch import Tensor

from .maskgit import Draw, MaskgitConfig
from .world import World

__all__ = ["Feedback", "RolloutConfig", "at_least", "check_generation", "checked_frames", "with_settings", "within"]

Feedback = Literal["pixels", "tokens"]
ContextActions = Literal["history", "inferred"]
_STEEPEST = 80.0  # exp of more is infinite in float32, in which the schedule is computed
_STRONGEST = 1000.0
_BRIGHTEST = 16.0  # unclamped frames of a rollout may leave [-1, 1] a little, 8-bit values by far


@dataclass(frozen=True)
class RolloutConfig(MaskgitConfig):
    """How a world is rolled out; the decoding of single frames is described in :class:`MaskgitConfig`.

    Attributes:
        context_window: frames that a prediction sees. 0 = all so far (what the July 2025 program really did).
        feedback: ``pixels`` decodes each new frame and tokenises it again, as the original; ``tokens`` keeps tokens.
        clamp: limit new frames to [-1, 1] before they are kept and fed back (the original does not).
        action_diversity: for ``actions="diversity"``, the probability of a least-used action.
        context_actions: the actions between frames of the window: ``history`` = those chosen, inferred only for frames
            before the first chosen one; ``inferred`` = read anew from the window's frames each time.
        teacher_forced: the context holds the true frames, and every prediction starts from them.
        latent_noise: July 2025 format only: standard deviation of noise added to predicted latents; that program's
            "temperature" T is (T - 1) * 0.1.
    """

    context_window: int = 2
    feedback: Feedback = "pixels"
    clamp: bool = True
    action_diversity: float = 0.1
    context_actions: ContextActions = "history"
    teacher_forced: bool = False
    latent_noise: float = 0.0

    def __post_init__(self) -> None:
        at_least("context_window", self.context_window, 0)
        at_least("horizon", self.horizon, 1)
        at_least("maskgit_steps", self.maskgit_steps, 1)
        at_least("temperature", self.temperature, 0)
        at_least("top_k", self.top_k, 0)
        within("top_p", self.top_p, 0, 1)
        within("action_diversity", self.action_diversity, 0, 1)
        within("action_guidance", self.action_guidance, -_STRONGEST, _STRONGEST)
        within("latent_noise", self.latent_noise, -_STRONGEST, _STRONGEST)
        if not 0 < self.schedule_k <= _STEEPEST:
            raise ValueError(
                f"schedule_k: {self.schedule_k} given; give a number above 0 up to {_STEEPEST:g} (the original has 5)."
            )
        _one_of("feedback", self.feedback, get_args(Feedback))
        _one_of("draw", self.draw, get_args(Draw))
        _one_of("context_actions", self.context_actions, get_args(ContextActions))


def with_settings(config: RolloutConfig, settings: dict[str, object]) -> RolloutConfig:
    """Return the configuration with some fields replaced; an unknown field is a ValueError."""
    known = {field.name for field in fields(RolloutConfig)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(f"rollout: there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    return replace(config, **settings)  # type: ignore[arg-type]


def check_generation(world: World, config: RolloutConfig) -> None:
    """Refuse settings that the world's format does not have."""
    if world.generation == "current":
        if config.latent_noise:
            raise ValueError(
                f"latent_noise: {config.latent_noise} given, but only the July 2025 format has it; use temperature."
            )
        return
    if config.temperature:
        raise ValueError(
            f"temperature: {config.temperature} given, but the July 2025 format predicts no probabilities; what its "
            "program called temperature T is latent_noise = (T - 1) * 0.1."
        )
    if config.horizon != 1 or config.action_guidance != 1.0:
        raise ValueError(
            "horizon, action_guidance: the July 2025 format predicts one frame at a time, always with its action; "
            "leave both at 1."
        )


def checked_frames(world: World, frames: Tensor, config: RolloutConfig, steps: int) -> Tensor:
    """Return context frames as (b, t, 3, S, S).

    Raises:
        ValueError: they do not fit the world, are too few, or hold values far outside [-1, 1] or NaN.
    """
    frames = frames.unsqueeze(0) if frames.ndim == 4 else frames
    size, window = world.frame_size, config.context_window
    if frames.ndim != 5 or frames.shape[2] != 3:
        raise ValueError(
            f"context: shape {list(frames.shape)} given; give frames (b, t, 3, {size}, {size}) in [-1, 1]."
        )
    if frames.shape[0] == 0 or frames.shape[1] == 0:
        raise ValueError("context: is empty; give at least one frame.")
    if frames.shape[-2:] != (size, size):
        raise ValueError(
            f"context: frames are {frames.shape[-1]}x{frames.shape[-2]} pixels, but this world was trained on "
            f"{size}x{size}; resize them, for example with fit_frames(frames, {size})."
        )
    if frames.shape[1] < window and world.generation == "current":
        raise ValueError(
            f"context: {frames.shape[1]} frames given, but context_window is {window}; "
            f"give {window} frames or set context_window to {frames.shape[1]}."
        )
    needed = window + (steps - 1) * config.horizon
    if config.teacher_forced and (window == 0 or frames.shape[1] < needed):
        raise ValueError(
            f"teacher_forced: {steps} steps need {needed} true frames, {frames.shape[1]} given; "
            "give more frames, fewer steps, or a context_window above 0."
        )
    brightest = frames.abs().max()
    if not brightest <= _BRIGHTEST:
        raise ValueError(f"context: values up to {brightest:.0f} found; give frames in [-1, 1].")
    return frames


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a setting below ``least``."""
    if not value >= least:
        raise ValueError(f"{name}: {value} given; give {least} or more.")


def within(name: str, value: float, least: float, most: float) -> None:
    """Refuse a setting outside ``least`` to ``most``."""
    if not least <= value <= most:
        raise ValueError(f"{name}: {value} given; give a number from {least:g} to {most:g}.")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} given; give one of {', '.join(allowed)}.")
