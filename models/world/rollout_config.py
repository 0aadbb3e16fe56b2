"""The settings of a rollout, each checked when it is given."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from .maskgit import Draw, MaskgitConfig

__all__ = ["ContextActions", "Feedback", "RolloutConfig", "check_minimum", "check_range", "override_config"]

Feedback = Literal["pixels", "tokens"]
ContextActions = Literal["history", "inferred"]
_STEEPEST = 80.0  # exp of more is infinite in float32, in which the schedule is computed
_STRONGEST = 1000.0


@dataclass(frozen=True)
class RolloutConfig(MaskgitConfig):
    """How a world is rolled out; the decoding of single frames is described in :class:`MaskgitConfig`.

    Attributes:
        context_window: Context frames of a prediction. 0 = all so far (what the legacy program really did).
        feedback: ``pixels`` decodes each new frame and tokenises it again, as the original; ``tokens`` keeps tokens.
        clamp: Limit new frames to [-1, 1] before they are kept and fed back (the original does not).
        action_diversity: For ``actions="diversity"``, the probability of a least-used action.
        context_actions: The actions between frames of the window: ``history`` = those chosen, inferred only for frames
            before the first chosen one; ``inferred`` = inferred anew from the window's frames each time.
        teacher_forced: The context holds the true frames, and every prediction starts from them.
        latent_noise: Legacy format only: standard deviation of noise added to predicted latents; that program's
            "temperature" T is (T - 1) * 0.1.

    Raises:
        ValueError: A setting is outside its range.
    """

    context_window: int = 2
    feedback: Feedback = "pixels"
    clamp: bool = True
    action_diversity: float = 0.1
    context_actions: ContextActions = "history"
    teacher_forced: bool = False
    latent_noise: float = 0.0

    def __post_init__(self) -> None:
        check_minimum("context_window", self.context_window, 0)
        check_minimum("horizon", self.horizon, 1)
        check_minimum("maskgit_steps", self.maskgit_steps, 1)
        check_minimum("temperature", self.temperature, 0)
        check_minimum("top_k", self.top_k, 0)
        check_range("top_p", self.top_p, 0, 1)
        check_range("action_diversity", self.action_diversity, 0, 1)
        check_range("action_guidance", self.action_guidance, -_STRONGEST, _STRONGEST)
        check_range("latent_noise", self.latent_noise, -_STRONGEST, _STRONGEST)
        if not 0 < self.schedule_k <= _STEEPEST:
            raise ValueError(
                f"schedule_k: {self.schedule_k} given; give a number above 0 up to {_STEEPEST:g} (the original has 5)."
            )
        _check_choice("feedback", self.feedback, get_args(Feedback))
        _check_choice("draw", self.draw, get_args(Draw))
        _check_choice("context_actions", self.context_actions, get_args(ContextActions))


def override_config(config: RolloutConfig, settings: dict[str, object]) -> RolloutConfig:
    """Return the configuration with some fields replaced; an unknown field is a ValueError."""
    known = {field.name for field in fields(RolloutConfig)}
    if unknown := sorted(settings.keys() - known):
        raise ValueError(f"rollout: there is no setting {unknown[0][:40]!r}; there are {', '.join(sorted(known))}.")
    return replace(config, **settings)  # type: ignore[arg-type]


def check_minimum(name: str, value: float, least: float) -> None:
    """Refuse a setting below ``least``."""
    if not value >= least:
        raise ValueError(f"{name}: {value} given; give {least} or more.")


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Refuse a setting outside ``least`` to ``most``."""
    if not least <= value <= most:
        raise ValueError(f"{name}: {value} given; give a number from {least:g} to {most:g}.")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value[:40]!r} given; give one of {', '.join(allowed)}.")
