"""What a diagnosis holds, and how it is put into words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from .psnr import to_psnr

__all__ = ["ARMS", "ActionEffect", "Diagnosis"]

ARMS = ("tokenizer", "one step", "pixels", "tokens")
"""The ways in which a diagnosis predicts, from the best that can be reached to plain rollouts."""
# What the sentence calls a cause: a loss that is visible, a tokenizer whose frames are visibly poor, actions that
# change a frame by less than a tenth of what changes anyway.
_VISIBLE, _POOR, _IGNORED = 1.5, 22.0, 0.1


@dataclass(frozen=True)
class ActionEffect:
    """What actions do, averaged over several contexts.

    Attributes:
        between_actions: RMS difference in [0, 1] between the next frames of two actions.
        between_frames: The same between neighbouring true frames, as a measure.
        gain: DB by which the true action predicts better than another.
    """

    between_actions: float
    between_frames: float
    gain: float

    @property
    def ignored(self) -> bool:
        """Whether actions change less than a tenth of what changes from frame to frame."""
        return self.between_actions < _IGNORED * self.between_frames


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found.

    Attributes:
        mse: Per arm of :data:`ARMS`, (n,) mean squared error of each predicted frame in [0, 1], over all videos.
        first_frame: Number (from 0) in the video of the first predicted frame.
        frames: Per arm, the first video's frames (n, 3, S, S) in [-1, 1]; under ``truth`` the true ones.
        flip_rate: Share of a predicted frame's tokens that change when its pixels are tokenised again.
        masked_loss: DB that a step loses when a quarter of its context frames is masked.
        actions: Their effect, or None for a world without an action model.
        scores: Per measure (PSNR, and those that were asked for) and arm, (b, n): each frame of each video.
    """

    mse: dict[str, Tensor]
    first_frame: int
    frames: dict[str, Tensor]
    flip_rate: float
    masked_loss: float
    actions: ActionEffect | None
    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def psnr(self) -> dict[str, Tensor]:
        """Per arm, (n,) peak signal-to-noise ratio in dB: 10 log10(1 / MSE), at most 100."""
        return {arm: to_psnr(mse) for arm, mse in self.mse.items()}

    def mean(self, arm: str) -> float:
        """Return an arm's PSNR over all frames, in dB."""
        return float(to_psnr(self.mse[arm].mean()))

    def late(self, arm: str) -> float:
        """Return an arm's PSNR over the last third of the frames, in dB."""
        return float(to_psnr(self.mse[arm][-math.ceil(len(self.mse[arm]) / 3) :].mean()))

    @property
    def cause(self) -> str:
        """One or two plain sentences: what limits this world."""
        return _name_cause(self)

    def report(self) -> str:
        """Return the measurements as text, the cause first."""
        return _report(self)


# Words ---------------------------------------------------------------------------------------------------------------


def _name_cause(found: Diagnosis) -> str:
    """Name the largest part of the late error; parts are compared as squared errors, which add up, not as dB."""
    ceiling, step = found.mean("tokenizer"), found.mean("one step")
    late, pixels, tokens = (found.late(arm) for arm in ("one step", "pixels", "tokens"))
    rolled = max(pixels, tokens)
    blind, drift, again = ceiling - step, late - rolled, tokens - pixels
    of_step, of_drift = _measure_error(step) - _measure_error(ceiling), _measure_error(rolled) - _measure_error(late)
    if ceiling < _POOR and blind < _VISIBLE and drift < _VISIBLE:
        said = (
            f"The tokenizer is the limit: true frames that are only encoded and decoded reach {ceiling:.1f} dB; "
            "train the tokenizer longer or with more tokens."
        )
    elif again >= _VISIBLE and _measure_error(pixels) - _measure_error(tokens) >= max(of_drift, of_step):
        said = (
            f"Re-tokenising is the main loss: feeding pixels back ends at {pixels:.1f} dB, feeding tokens back at "
            f"{tokens:.1f} dB, and {found.flip_rate:.0%} of a frame's tokens change on the way; set feedback to tokens."
        )
    elif drift >= _VISIBLE and of_drift >= of_step:
        said = (
            f"Autoregression is the main loss: with true context (teacher forcing) a step reaches {late:.1f} dB late "
            f"in the video, from the model's own frames {rolled:.1f} dB; errors feed on themselves, as training never "
            "showed the model its own output."
        )
    elif blind >= _VISIBLE:
        said = (
            f"The dynamics model is the limit: one step from true frames reaches {step:.1f} dB where the tokenizer "
            f"allows {ceiling:.1f} dB; train it longer, or give it a longer context_window."
        )
    else:
        said = "No loss stands out: the rollout stays within 1.5 dB of what one step and the tokenizer reach."
    effect = found.actions
    if effect is not None and effect.ignored:
        said += (
            f" Actions are ignored: different actions change the next frame by {effect.between_actions:.4f}, "
            f"while true frames change by {effect.between_frames:.4f}."
        )
    return said


def _measure_error(decibel: float) -> float:
    return 10 ** (-decibel / 10)


def _report(found: Diagnosis) -> str:
    lines = [found.cause, "", "PSNR in dB of frames in [0, 1] (10 log10(1/MSE)), per predicted frame:"]
    lines.append("frame  " + "  ".join(f"{arm:>9}" for arm in ARMS))
    columns = [found.psnr[arm].tolist() for arm in ARMS]
    for number, row in enumerate(zip(*columns, strict=True), start=found.first_frame):
        lines.append(f"{number:>5}  " + "  ".join(f"{value:9.2f}" for value in row))
    lines.append(" mean  " + "  ".join(f"{found.mean(arm):9.2f}" for arm in ARMS))
    lines.append("  MSE  " + "  ".join(f"{float(found.mse[arm].mean()):9.6f}" for arm in ARMS))
    lines += ["", *_report_scores(found), f"token flip rate of re-tokenising: {found.flip_rate:.1%}"]
    lines.append(f"masking test, a quarter of the context frames masked: {found.masked_loss:+.2f} dB lost")
    if found.actions is None:
        lines.append("actions: none (the world was opened without a latent action model)")
    else:
        lines.append(
            f"actions: next frames differ by {found.actions.between_actions:.4f} RMS between actions, by "
            f"{found.actions.between_frames:.4f} from frame to frame; the true action gains "
            f"{found.actions.gain:+.2f} dB"
        )
    return "\n".join(lines)


def _report_scores(found: Diagnosis) -> list[str]:
    """Say the mean of every measure over a video's frames: over all videos, and its standard deviation among them."""
    if not found.scores:
        return []
    videos = len(found.scores["PSNR"][ARMS[0]])
    lines = [f"means over the frames of {videos} video(s)" + (", and standard deviation" if videos > 1 else "") + ":"]
    for name, arms in found.scores.items():
        means = {arm: arms[arm].double().mean(1) for arm in ARMS}
        digits = 2 if name == "PSNR" else 4
        lines.append(f"{name:>5}  " + "  ".join(f"{float(means[arm].mean()):9.{digits}f}" for arm in ARMS))
        if videos > 1:
            lines.append("   +-  " + "  ".join(f"{float(means[arm].std(correction=0)):9.{digits}f}" for arm in ARMS))
    return lines
