"""How free play is judged: the true game passes, and each kind of failure is seen. Then the shipped world."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from wan_lite.demo.free_play import (
    POLICIES,
    FreePlay,
    count_balls,
    find_obeyed,
    follow_ball,
    measure_free_play,
    play_freely,
)
from wan_lite.demo.game import LEFT, RIGHT, STAY, play
from wan_lite.demo.measure import load_demo_world
from wan_lite.models.world import RolloutConfig


@pytest.fixture(scope="module")
def true_game() -> FreePlay:
    episodes = play(8, 80, Generator().manual_seed(11))
    return FreePlay(episodes.frames, episodes.actions)


def test_the_true_game_is_without_fault(true_game: FreePlay) -> None:
    assert measure_free_play(true_game) == {"one_ball": 1.0, "paddle_obeys": 1.0, "clean_pixels": 1.0}


def test_balls_are_counted(true_game: FreePlay) -> None:
    ground = true_game.frames[:1, :1, :, 15:16, 15:16] * 0 + true_game.frames[0, 0, :, 31, 0].view(1, 1, 3, 1, 1)
    empty = ground.expand(-1, -1, -1, 32, 32).clone()
    ball = torch.tensor([1.0, 0.6, -0.6]).view(3, 1, 1)
    one = empty.clone()
    one[..., 4:8, 4:8] = ball
    two = one.clone()
    two[..., 20, 20] = ball[:, 0, 0]
    assert [int(count_balls(frames)) for frames in (empty, one, two)] == [0, 1, 2]


def test_a_paddle_that_does_as_it_likes_is_seen(true_game: FreePlay) -> None:
    turned = torch.where(true_game.actions == LEFT, RIGHT, torch.where(true_game.actions == RIGHT, LEFT, STAY))
    moved = (true_game.actions == LEFT) | (true_game.actions == RIGHT)
    obeyed = find_obeyed(FreePlay(true_game.frames, turned))
    assert float(obeyed[moved].float().mean()) < 0.2  # at a wall both are right


def test_wrong_colours_are_seen(true_game: FreePlay) -> None:
    grey = FreePlay(true_game.frames * 0.5, true_game.actions)
    assert measure_free_play(grey)["clean_pixels"] < 0.1


def test_the_follower_keeps_the_ball_up() -> None:
    generator = Generator().manual_seed(3)
    frames = play(16, 2, generator).frames
    actions = follow_ball(frames, generator)
    assert actions.shape == (16,) and set(actions.tolist()) <= {STAY, LEFT, RIGHT}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_shipped_world_keeps_its_ball(policy: str) -> None:
    """A small sample of what ``demo.figures`` measures over 20 games of 300 frames."""
    found = measure_free_play(play_freely(load_demo_world(), policy, 6, 60, RolloutConfig(maskgit_steps=1)))
    assert found["one_ball"] >= 0.95 and found["paddle_obeys"] >= 0.99 and found["clean_pixels"] >= 0.99
