"""A procedural game with real actions: a paddle keeps a ball up, on 32x32 pixels, everything in steps of two pixels.

The ball moves diagonally, two pixels a frame in each direction, bounces off the sides and the top, and off the paddle:
there the half of the paddle that it meets decides whether it leaves to the left or to the right. A missed ball comes
in again from the top. The player stays, moves left or right, or stretches the paddle for one frame. The next frame
follows from this frame, the direction of the ball (two frames show it) and the action: nothing is left to chance.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from ..pipeline.pictures.convert import to_signed, to_unit

__all__ = [
    "ACTIONS",
    "LEFT",
    "RIGHT",
    "SIZE",
    "STAY",
    "STRETCH",
    "Episodes",
    "Game",
    "act_at_random",
    "find_effective_actions",
    "find_paddle",
    "play",
]

SIZE = 32  # pixels a side
ACTIONS = ("stay", "left", "right", "stretch")
STAY, LEFT, RIGHT, STRETCH = range(4)
GROUND = (0.07, 0.08, 0.15)  # RGB in [0, 1]
BALL_COLOUR = (1.0, 0.80, 0.20)
PADDLE_COLOUR = (0.30, 0.85, 1.0)
STRETCHED_COLOUR = (1.0, 0.35, 0.55)
SPEED = 2  # pixels a frame
BALL = 4  # side of the ball
PADDLE = 8  # width of the paddle; stretched it is 4 wider
PADDLE_TOP, PADDLE_HEIGHT = 28, 2
_FLOOR = PADDLE_TOP - BALL  # top of the ball when it touches the paddle
_LAST_LEFT = SIZE - PADDLE


@dataclass(frozen=True)
class Episodes:
    """Videos of the game: frames ``(b, t, 3, 32, 32)`` in [-1, 1], actions ``(b, t - 1)`` int64 between them."""

    frames: Tensor
    actions: Tensor
    paddle: Tensor  # (b, t) int64, left edge of the paddle in pixels


@dataclass
class Game:
    """All of the game, each ``(b,)`` int64: left and top of the ball, its direction, left of the paddle.

    A ball above the top edge is not seen; it comes in at the next frame.
    """

    x: Tensor
    y: Tensor
    dx: Tensor
    dy: Tensor
    paddle: Tensor
    stretched: Tensor

    @classmethod
    def begin(cls, count: int, generator: Generator) -> Game:
        """Return ``count`` games in random states."""

        def even(low: int, high: int) -> Tensor:
            return 2 * torch.randint(low // 2, high // 2 + 1, (count,), generator=generator)

        def sign() -> Tensor:
            return 2 * torch.randint(2, (count,), generator=generator) - 1

        stretched = torch.rand(count, generator=generator) < 0.25
        return cls(even(2, SIZE - BALL - 2), even(2, _FLOOR - 2), sign(), sign(), even(0, _LAST_LEFT), stretched)

    def __getitem__(self, rows: Tensor | slice) -> Game:
        """Return some of the games, copied."""
        return Game(*(getattr(self, field.name)[rows].clone() for field in fields(self)))

    def __setitem__(self, rows: Tensor | slice, games: Game) -> None:
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(games, field.name)

    def lose_ball(self, where: Tensor) -> None:
        """Take the ball out where ``where`` (b,) is true: it comes in at the top, left of the middle, to the right."""
        for name, value in (("x", SIZE // 2 - BALL), ("y", -SPEED), ("dx", 1), ("dy", 1)):
            setattr(self, name, torch.where(where, value, getattr(self, name)))

    def advance(self, action: Tensor) -> None:
        """Play one frame."""
        self.paddle = (self.paddle + SPEED * ((action == RIGHT).long() - (action == LEFT).long())).clamp(0, _LAST_LEFT)
        self.stretched = action == STRETCH
        self.x = self.x + SPEED * self.dx
        self.y = self.y + SPEED * self.dy
        side = (self.x <= 0) | (self.x >= SIZE - BALL)
        self.dx = torch.where(side, -self.dx, self.dx)
        self.dy = torch.where(self.y <= 0, torch.ones_like(self.dy), self.dy)
        reach = 2 * self.stretched.long()
        meets = (self.x + BALL > self.paddle - reach) & (self.x < self.paddle + PADDLE + reach)
        hit = (self.y == _FLOOR) & (self.dy > 0) & meets
        aimed = torch.where(self.x + BALL // 2 < self.paddle + PADDLE // 2, -1, 1)
        self.dx = torch.where(hit & ~side, aimed, self.dx)
        self.dy = torch.where(hit, -self.dy, self.dy)
        self.y = torch.where(self.y > SIZE - BALL, torch.zeros_like(self.y), self.y)

    def draw(self) -> Tensor:
        """Return the frame, ``(b, 3, 32, 32)`` in [-1, 1]."""
        reach = 2 * self.stretched.long()
        image = torch.tensor(GROUND).view(1, 3, 1, 1).expand(len(self.x), 3, SIZE, SIZE)
        paddle = _draw_box(self.paddle - reach, torch.full_like(self.y, PADDLE_TOP), PADDLE + 2 * reach, PADDLE_HEIGHT)
        tint = torch.where(self.stretched[:, None], torch.tensor(STRETCHED_COLOUR), torch.tensor(PADDLE_COLOUR))
        image = torch.where(paddle, tint[:, :, None, None], image)
        ball = _draw_box(self.x, self.y, torch.full_like(self.x, BALL), BALL) & (self.y >= 0)[:, None, None, None]
        image = torch.where(ball, torch.tensor(BALL_COLOUR).view(1, 3, 1, 1), image)
        return to_signed(image)


def _draw_box(left: Tensor, top: Tensor, width: Tensor, height: int) -> Tensor:
    line = torch.arange(SIZE)
    across = (line >= left[:, None]) & (line < (left + width)[:, None])
    down = (line >= top[:, None]) & (line < (top + height)[:, None])
    return (down[:, :, None] & across[:, None, :])[:, None]


def play(count: int, length: int, generator: Generator, actions: Tensor | None = None) -> Episodes:
    """Play ``count`` games of ``length`` frames from random states.

    Args:
        count: Number of games.
        length: Frames of each.
        generator: All randomness comes from it.
        actions: ``(count, length - 1)`` int64; None lets a random policy act, which keeps an action for two frames on
            average.
    """
    state = Game.begin(count, generator)
    if actions is None:
        actions = act_at_random(count, length - 1, generator)
    frames, places = [state.draw()], [state.paddle]
    for i in range(length - 1):
        state.advance(actions[:, i])
        frames.append(state.draw())
        places.append(state.paddle)
    return Episodes(torch.stack(frames, 1), actions, torch.stack(places, 1))


def act_at_random(count: int, length: int, generator: Generator) -> Tensor:
    """Act as a random policy; each action is kept with probability one half."""
    actions = torch.randint(len(ACTIONS), (count, length), generator=generator)
    keep = torch.rand(count, length, generator=generator) < 0.5
    for i in range(1, length):
        actions[:, i] = torch.where(keep[:, i], actions[:, i - 1], actions[:, i])
    return actions


def find_effective_actions(episodes: Episodes) -> Tensor:
    """Return the actions as they show: a paddle pushed against a wall stays; ``(b, t - 1)`` int64."""
    moved = episodes.paddle[:, 1:] != episodes.paddle[:, :-1]
    pushed = (episodes.actions == LEFT) | (episodes.actions == RIGHT)
    return torch.where(pushed & ~moved, STAY, episodes.actions)


def find_paddle(frames: Tensor) -> Tensor:
    """Find the left edge of a paddle in frames ``(..., 3, 32, 32)`` in [-1, 1]; -1 where there is none.

    The paddle's own rows below the ball's reach are searched for any colour unlike the ground; a stretched paddle is
    found by its colour, and its two extra pixels are taken off.
    """
    row = to_unit(frames[..., PADDLE_TOP + PADDLE_HEIGHT - 1, :])
    ordinary, stretched, ground, ball = (
        (row - torch.tensor(colour).unsqueeze(-1)).square().sum(-2)
        for colour in (PADDLE_COLOUR, STRETCHED_COLOUR, GROUND, BALL_COLOUR)
    )
    nearest = torch.stack([ordinary, stretched, ground, ball], -1).argmin(-1)
    there = nearest < 2
    first = there.float().argmax(-1)
    wide = (nearest == 1).any(-1)
    # A wall cuts the extension off: at the left wall measure from the right end.
    last = SIZE - 1 - there.flip(-1).float().argmax(-1)
    left = torch.where(wide, torch.where(first > 0, first + 2, last - 2 - PADDLE + 1), first)
    return torch.where(there.any(-1), left.clamp(0, _LAST_LEFT), -1)
