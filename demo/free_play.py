"""Free play of the demo world, judged frame by frame: is the ball there once, does the paddle obey, are colours clean.

The world is left to itself for hundreds of frames; there is no true video to compare with, but the rules of the game
say what each frame must show, given the one before it and the action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..models.world import RolloutConfig, RolloutState, World, rollout
from ..pipeline.pictures.convert import to_unit
from .game import (
    BALL_COLOUR,
    GROUND,
    LEFT,
    PADDLE,
    PADDLE_COLOUR,
    PADDLE_HEIGHT,
    PADDLE_TOP,
    RIGHT,
    SIZE,
    SPEED,
    STAY,
    STRETCHED_COLOUR,
    act_at_random,
    find_paddle,
    play,
)

__all__ = ["POLICIES", "FreePlay", "count_balls", "find_obeyed", "follow_ball", "measure_free_play", "play_freely"]

COLOURS = (GROUND, BALL_COLOUR, PADDLE_COLOUR, STRETCHED_COLOUR)
_TOLERANCE = 24 / 255  # of a channel
_BALL, _PADDLE = COLOURS.index(BALL_COLOUR), COLOURS.index(PADDLE_COLOUR)
_LAST_LEFT = SIZE - PADDLE
_FIRST_SEED = 5000  # games from here on were not used in training

Policy = Callable[[Tensor, Generator], Tensor]
"""Chooses the next actions (b,) from frames (b, t, 3, 32, 32)."""


@dataclass(frozen=True)
class FreePlay:
    """Frames (b, t, 3, 32, 32) in [-1, 1] with the last true one first, and the actions (b, t - 1) between them."""

    frames: Tensor
    actions: Tensor


def follow_ball(frames: Tensor, generator: Generator) -> Tensor:
    """Move the paddle's middle below the ball's, and stay where no ball or no paddle is seen: (b,) int64."""
    last = frames[:, -1]
    ball = (_name_colours(last) == _BALL).any(-2).float()
    middle = (ball * torch.arange(SIZE)).sum(-1) / ball.sum(-1).clamp(min=1)
    paddle = find_paddle(last)
    aside = middle - (paddle + (PADDLE - 1) / 2)
    action = torch.where(aside > SPEED / 2, RIGHT, torch.where(aside < -SPEED / 2, LEFT, STAY))
    return torch.where((ball.sum(-1) > 0) & (paddle >= 0), action, STAY)


POLICIES = ("random", "follow")


def play_freely(world: World, policy: str, seeds: int, length: int, config: RolloutConfig) -> FreePlay:
    """Let a policy play the world from true first frames.

    Args:
        world: The demo's.
        policy: ``random`` (an action is kept for two frames on average) or ``follow`` (see :func:`follow_ball`).
        seeds: Number of games, each from another beginning.
        length: Frames to predict.
        config: How they are predicted.
    """
    generator = Generator().manual_seed(_FIRST_SEED)
    start = play(seeds, config.context_window, generator).frames
    planned = act_at_random(seeds, length, generator)
    state: Tensor | RolloutState = start
    frames, chosen = [start[:, -1:]], []
    for i in range(length):
        action = planned[:, i] if policy == "random" else follow_ball(frames[-1], generator)
        result = rollout(world, state, steps=1, actions=action[:, None].tolist(), config=config)
        frames.append(result.new_frames)
        chosen.append(action)
        state = result.state
    return FreePlay(torch.cat(frames, 1), torch.stack(chosen, 1))


def measure_free_play(played: FreePlay) -> dict[str, float]:
    """Return the shares of frames with one ball and an obedient paddle, and of pixels in the game's colours."""
    return {
        "one_ball": float((count_balls(played.frames[:, 1:]) == 1).float().mean()),
        "paddle_obeys": float(find_obeyed(played).float().mean()),
        "clean_pixels": float(_find_clean(played.frames[:, 1:]).float().mean()),
    }


def count_balls(frames: Tensor) -> Tensor:
    """Count the connected groups of pixels whose nearest game colour is the ball's: (..., 3, 32, 32) -> (...)."""
    mask = _name_colours(frames) == _BALL
    flat = mask.flatten(0, -3).float()
    label = flat * torch.arange(1.0, SIZE**2 + 1).view(SIZE, SIZE)
    while True:  # each pixel takes the largest label around it, until a group has one label
        spread = F.max_pool2d(label[:, None], 3, 1, 1)[:, 0] * flat
        if torch.equal(spread, label):
            break
        label = spread
    groups = [int(part[part > 0].unique().numel()) for part in label]
    return torch.tensor(groups).view(mask.shape[:-2])


def find_obeyed(played: FreePlay) -> Tensor:
    """Find the frames (b, t) whose paddle is where the game would move it from the frame before, give or take a pixel.

    What the ball hides of a paddle counts as fitting.
    """
    fits = _fit_paddle(played.frames)
    push = (played.actions == RIGHT).long() - (played.actions == LEFT).long()
    before, after = fits[:, :-1], fits[:, 1:].float()
    near = F.max_pool1d(after.flatten(0, 1), 3, 1, 1).view_as(after) > 0
    expected = (torch.arange(_LAST_LEFT + 1) + SPEED * push.unsqueeze(-1)).clamp(0, _LAST_LEFT)
    return (before & near.gather(-1, expected)).any(-1)


def _fit_paddle(frames: Tensor) -> Tensor:
    """Find the left edges at which a paddle fits the row best, with two wrong pixels at most: (..., 25) bool."""
    row = _name_colours(frames)[..., PADDLE_TOP + PADDLE_HEIGHT - 1, :]
    line, left = torch.arange(SIZE), torch.arange(_LAST_LEFT + 1).unsqueeze(-1)
    wrong = []
    for reach in (0, 2):
        span = (line >= left - reach) & (line < left + PADDLE + reach)
        seen = (row == _PADDLE + reach // 2).unsqueeze(-2)
        wrong.append(((seen != span) & (row != _BALL).unsqueeze(-2)).sum(-1))
    least = torch.stack(wrong).amin(0)
    return (least == least.amin(-1, keepdim=True)) & (least <= 2)


def _find_clean(frames: Tensor) -> Tensor:
    """Find pixels within 24/255 of one of the game's colours in every channel: (..., 32, 32) bool."""
    return (_measure_distances(frames) <= _TOLERANCE).any(-1)


def _name_colours(frames: Tensor) -> Tensor:
    """Return the index of the nearest game colour of each pixel: (..., 3, 32, 32) -> (..., 32, 32)."""
    return _measure_distances(frames).argmin(-1)


def _measure_distances(frames: Tensor) -> Tensor:
    """Return the largest channel's distance to each game colour: (..., 3, 32, 32) -> (..., 32, 32, 4)."""
    colours = torch.tensor(COLOURS).view(len(COLOURS), 3, 1, 1)
    return torch.stack([(to_unit(frames) - colour).abs().amax(-3) for colour in colours], -1)
