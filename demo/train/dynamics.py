"""Train the demo world's dynamics model on its own rollouts, corrected by the game.

Many games run side by side. Each has a context of tokens, which is what the model said before, and the game's true
state. At every step the model predicts the next frame of some games from their contexts; the loss compares it with what
the game really shows next, and the prediction then enters the context. At first it is the true frame that enters; the
share of the model's own grows to one. A prediction that lost the ball has a true answer, too: the next ball comes in at
the top, and so a rollout recovers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ...models.world import DynamicsConfig, DynamicsModel, VideoTokenizer
from ...models.world.networks.latent_actions import to_action_vectors
from ..game import ACTIONS, BALL, LEFT, PADDLE, RIGHT, SIZE, STAY, Game
from .loop import EMA, Log, make_optimizer, schedule_steps, take_step

__all__ = ["DYNAMICS", "Plan", "train_dynamics"]

PATCH = 4
DYNAMICS = DynamicsConfig(SIZE, PATCH, 64, 4, 192, 4, latent_dim=4, num_bins=4, action_dim=2)
BATCH = 16
GAMES = 1024  # side by side
KEPT = 4  # frames of context that are kept
CONTEXTS = (2, 2, 2, 2, 2, 2, 3, 4)  # frames of context that a batch is given, one of these
DISTURBED = 0.15  # share of contexts with some wrong tokens
WRONG_TOKENS = 0.02  # share of their tokens


@dataclass(frozen=True)
class Plan:
    """How the dynamics model is trained."""

    steps: int
    seed: int

    def share(self, i: int) -> float:
        """Return the share of own predictions among the frames that enter contexts at step i: 0, rising to 1."""
        return min(1.0, max(0.0, 2.5 * i / self.steps - 0.5))


class Games:
    """Games side by side: their states, the tokens of their last frames, the actions that led to those."""

    def __init__(self, tokenizer: VideoTokenizer, count: int, generator: Generator) -> None:
        self.tokenizer, self.generator = tokenizer, generator
        self.state = Game.begin(count, generator)
        self.tokens = torch.zeros(count, KEPT, DYNAMICS.patches, dtype=torch.long)
        self.actions = torch.zeros(count, KEPT, dtype=torch.long)
        self.follows = torch.rand(count, generator=generator) < 0.5
        for part in torch.arange(count).split(64):
            self.restart(part)

    def restart(self, rows: Tensor) -> None:
        """Begin new games with true frames; in a few of them the ball is missing from the last ones."""
        games = Game.begin(len(rows), self.generator)
        missing = torch.randint(KEPT, (len(rows),), generator=self.generator)
        missing = torch.where(self._is_drawn(len(rows), 0.06), missing, KEPT)
        for i in range(KEPT):
            self.actions[rows, i] = self._choose_actions(rows, games, self.actions[rows, i - 1])
            games.advance(self.actions[rows, i])
            games.lose_ball(missing <= i)
            self.tokens[rows, i] = self._tokenize(games)
        self.state[rows] = games

    def advance(self, rows: Tensor) -> Tensor:
        """Play one frame of some games and return the tokens of what they show, (b, p)."""
        games = self.state[rows]
        action, paddle = self._choose_actions(rows, games, self.actions[rows, -1]), games.paddle
        games.advance(action)
        # A paddle pushed against a wall is one that stays: both names of that are taught.
        pushed = (games.paddle == paddle) & ((action == LEFT) | (action == RIGHT))
        action = torch.where(pushed & self._is_drawn(len(rows), 0.25), STAY, action)
        self.actions[rows] = torch.cat([self.actions[rows, 1:], action[:, None]], 1)
        self.state[rows] = games
        return self._tokenize(games)

    def store(self, rows: Tensor, entering: Tensor, truth: Tensor) -> None:
        """Let frames' tokens (b, p) enter the contexts; games that they do not belong to any more begin anew."""
        self.tokens[rows] = torch.cat([self.tokens[rows, 1:], entering[:, None]], 1)
        wrong = (entering != truth).any(-1).nonzero()[:, 0]
        if not len(wrong):
            return
        games = self.state[rows[wrong]]
        games.lose_ball(torch.ones(len(wrong), dtype=torch.bool))
        lost = (entering[wrong] == self._tokenize(games)).all(-1)
        self.state[rows[wrong[lost]]] = games[lost.nonzero()[:, 0]]
        again = wrong[~lost & self._is_drawn(len(wrong), 0.5)]
        if len(again):
            self.restart(rows[again])

    def _choose_actions(self, rows: Tensor, games: Game, last: Tensor) -> Tensor:
        """Act at random, keeping an action for two frames on average, or follow the ball most of the time."""
        any_action = torch.randint(len(ACTIONS), (len(rows),), generator=self.generator)
        kept = torch.where(self._is_drawn(len(rows), 0.5), last, any_action)
        aside = games.x + BALL // 2 - games.paddle - PADDLE // 2
        towards = torch.where(aside > 1, RIGHT, torch.where(aside < -1, LEFT, STAY))
        return torch.where(self.follows[rows] & self._is_drawn(len(rows), 0.8), towards, kept)

    def _is_drawn(self, count: int, share: float) -> Tensor:
        return torch.rand(count, generator=self.generator) < share

    @torch.no_grad()
    def _tokenize(self, games: Game) -> Tensor:
        return self.tokenizer.tokenize(games.draw()[:, None])[:, 0]


def train_dynamics(tokenizer: VideoTokenizer, plan: Plan, models: Path) -> DynamicsModel:
    """Train the tokens of a masked frame behind two to four frames of context and the actions between them."""
    torch.manual_seed(plan.seed)
    generator = Generator().manual_seed(plan.seed)
    games = Games(tokenizer, GAMES, generator)
    model = DynamicsModel(DYNAMICS)
    ema, optimizer = EMA(model), make_optimizer(model, 3e-3)
    log = Log("world_dynamics", plan.steps, models)
    for i in schedule_steps(plan.steps, optimizer):
        rows = torch.randint(GAMES // BATCH, (), generator=generator) + torch.arange(0, GAMES, GAMES // BATCH)
        before = games.tokens[rows]
        truth = games.advance(rows)
        window = CONTEXTS[int(torch.randint(len(CONTEXTS), (), generator=generator))]
        tokens = torch.cat([_disturb(before[:, -window:], generator), truth[:, None]], 1)
        loss, guess = _predict(tokenizer, model, tokens, games.actions[rows, -window:], generator)
        value = take_step(loss, model, optimizer)
        own = torch.rand(len(rows), 1, generator=generator) < plan.share(i)
        games.store(rows, torch.where(own, guess, truth), truth)
        ema.update()
        right = float((guess == truth).all(-1).float().mean())
        log.add(i, loss=value, frames_right=right, own_share=plan.share(i))
    ema.write_back()
    return model


def _disturb(context: Tensor, generator: Generator) -> Tensor:
    """Put tokens of another game into some contexts (b, t, p), patch by patch."""
    chosen = torch.rand(len(context), 1, 1, generator=generator) < DISTURBED
    wrong = torch.rand(context.shape, generator=generator) < WRONG_TOKENS
    return torch.where(chosen & wrong, context.roll(1, 0), context)


def _predict(
    tokenizer: VideoTokenizer, model: DynamicsModel, tokens: Tensor, actions: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the last frame's masked tokens, and that frame as the model fills it in.

    Shapes: tokens (b, t, p), actions (b, t - 1) -> a number, (b, p).
    """
    b, _, p = tokens.shape
    # A rollout begins with everything masked: so do three in five games.
    share = torch.rand(b, 1, generator=generator).clamp(min=0.05)
    share = torch.where(torch.rand(b, 1, generator=generator) < 0.6, 1.0, share)
    hidden = torch.rand(b, p, generator=generator) < share
    latents, truth = tokenizer.to_latents(tokens), tokens[:, -1]
    cache = model.prefill(latents[:, :-1], to_action_vectors(actions, DYNAMICS.action_dim), 1)
    last = model.mask_latents(latents[:, -1:], hidden[:, None])
    logits = model.decode_step(last, cache, torch.arange(p).expand(b, -1))
    return F.cross_entropy(logits[hidden], truth[hidden]), torch.where(hidden, logits.argmax(-1), truth)
