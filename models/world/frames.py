"""The frames that enter a world: fitted to its size, and checked before a rollout."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .rollout_config import RolloutConfig
from .world import World

__all__ = ["check_context", "fit_frames"]

_LARGEST_VALUE = 16.0  # unclamped frames of a rollout may leave [-1, 1] a little, 8-bit values by far


def fit_frames(frames: Tensor, size: int) -> Tensor:
    """Crop frames to a square from the middle and resize them to the world's frame size.

    Args:
        frames: With values in any range.
        size: Side of the square in pixels.

    Shapes:
        (..., 3, H, W) -> (..., 3, size, size), values kept in their range. Sides shrink by averaging, as the data
        sets were made, and grow bilinearly.
    """
    side = min(frames.shape[-2:])
    top, left = (frames.shape[-2] - side) // 2, (frames.shape[-1] - side) // 2
    square = frames[..., top : top + side, left : left + side]
    if side == size:
        return square
    flat = square.reshape(-1, *square.shape[-3:])  # n 3 s s
    mode = {"mode": "area"} if side > size else {"mode": "bilinear", "align_corners": False}
    return F.interpolate(flat, size=(size, size), **mode).reshape(*square.shape[:-2], size, size)


def check_context(world: World, frames: Tensor, config: RolloutConfig, steps: int) -> Tensor:
    """Return context frames as (b, t, 3, S, S).

    Args:
        world: That will be rolled out.
        frames: (b, t, 3, S, S) or (t, 3, S, S) in [-1, 1].
        config: Of the rollout.
        steps: Predictions to come, for which teacher forcing needs true frames.

    Raises:
        ValueError: They do not fit the world, are too few, or hold values far outside [-1, 1] or NaN.
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
    if frames.shape[1] < window and not world.grows_window:
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
    largest = frames.abs().max()
    if not largest <= _LARGEST_VALUE:
        raise ValueError(f"context: values up to {largest:.0f} found; give frames in [-1, 1].")
    return frames
