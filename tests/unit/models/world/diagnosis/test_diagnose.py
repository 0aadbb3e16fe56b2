"""The diagnosis: what it measures on worlds whose faults are known, and how it names them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_lite.models.world import (
    ARMS,
    Diagnosis,
    RolloutConfig,
    World,
    WorldSession,
    diagnose,
    find_checkpoints,
    load_world,
    rollout,
)
from wan_lite.models.world.diagnosis import ActionEffect
from wan_lite.models.world.diagnosis.psnr import measure_squared_error, to_psnr
from wan_lite.pipeline.pictures.diagnosis import COMPARED, compare_arms, draw_diagnosis_chart
from wan_lite.pipeline.pictures.layout import LABEL_HEIGHT

HERE = Path(__file__).parents[4] / "vectors" / "tinyworlds"
CURRENT = HERE / "current" / "checkpoints_current"


@pytest.fixture(scope="module")
def world() -> World:
    return load_world(CURRENT)


@pytest.fixture(scope="module")
def truth() -> Tensor:
    return load_file(HERE / "current" / "rollout.io.safetensors")["ground_truth_frames"][:, :7]


@pytest.fixture(scope="module")
def found(world: World, truth: Tensor) -> Diagnosis:
    return diagnose(world, truth)


def test_psnr() -> None:
    assert to_psnr(torch.tensor(0.01)).item() == pytest.approx(20) and to_psnr(torch.tensor(0.0)).item() == 100
    black, white = torch.full((2, 3, 4, 4), -1.0), torch.full((2, 3, 4, 4), 7.0)
    assert measure_squared_error(black, white).tolist() == [1.0, 1.0]


def test_shapes(found: Diagnosis) -> None:
    assert set(found.mse) == set(ARMS) and all(mse.shape == (5,) for mse in found.mse.values())
    assert all(frames.shape == (5, 3, 32, 32) for frames in found.frames.values())
    assert found.first_frame == 2 and 0 <= found.flip_rate <= 1


def test_errors_are_measured_between_0_and_1(found: Diagnosis) -> None:
    for arm in ARMS:
        apart = (found.frames[arm].clamp(-1, 1) - found.frames["truth"]) / 2
        torch.testing.assert_close(found.mse[arm], apart.square().mean((1, 2, 3)))


def test_first_frame_of_all_predictions_is_the_same(found: Diagnosis) -> None:
    for arm in ("pixels", "tokens"):
        torch.testing.assert_close(found.frames[arm][0], found.frames["one step"][0], rtol=0, atol=1e-5)


def test_arms_are_what_their_names_say(world: World, truth: Tensor, found: Diagnosis) -> None:
    window = truth[:, 3:6]
    ceiling = world.tokenizer.detokenize(world.tokenizer.tokenize(window))[:, -1]
    torch.testing.assert_close(found.frames["tokenizer"][3], ceiling[0], rtol=0, atol=1e-5)
    action = world.latent_actions.infer(window)[:, -1:]
    step = rollout(world, window[:, :2], steps=1, actions=action).new_frames
    torch.testing.assert_close(found.frames["one step"][3], step[0, 0], rtol=0, atol=1e-5)


def test_a_session_is_measured_as_it_was_played(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], RolloutConfig(maskgit_steps=2, temperature=0.7), seed=4)
    for action in (3, 1, 2):
        session.step(action)
    session.configure(maskgit_steps=1)
    for action in (0, 1):
        session.step(action)
    found = diagnose(world, truth, session=session.record())
    assert torch.equal(found.frames["pixels"], session.frames()[0, 1:])
    with pytest.raises(ValueError, match="session: 1 of 5 steps"):
        diagnose(world, truth[:, :6], session=session.record())


def test_one_step_of_a_session_takes_its_actions(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], RolloutConfig(maskgit_steps=2))
    for action in (3, 1, 2, 0, 1):
        session.step(action)
    found = diagnose(world, truth, session=session.record())
    config = RolloutConfig(maskgit_steps=2)
    first = rollout(world, truth[:, :2], steps=1, actions=[3], config=config)
    torch.testing.assert_close(found.frames["one step"][0], first.new_frames[0, 0], rtol=0, atol=1e-5)


def test_flip_rate(world: World, truth: Tensor, found: Diagnosis) -> None:
    actions = [int(world.latent_actions.infer(truth[:, i : i + 3])[0, -1]) for i in range(5)]
    result = rollout(world, truth[:, :2], steps=5, actions=actions)
    again = [world.tokenizer.tokenize(result.frames[:, i + 1 : i + 3])[0, -1] for i in range(5)]
    assert found.flip_rate == pytest.approx((torch.stack(again) != result.tokens[0]).float().mean().item())


def test_actions_that_do_nothing_are_noticed(world: World, truth: Tensor) -> None:
    deaf = load_world(CURRENT)
    for name, parameter in deaf.dynamics.named_parameters():
        if "to_gamma_beta" in name:
            parameter.data.zero_()
    effect = diagnose(deaf, truth).actions
    assert effect is not None and effect.between_actions == 0 and effect.ignored and effect.gain == 0
    assert not diagnose(world, truth).actions.ignored


def test_batch_of_clips_averages(world: World, truth: Tensor, found: Diagnosis) -> None:
    twice = diagnose(world, truth.expand(2, -1, -1, -1, -1))
    for arm in ARMS:
        torch.testing.assert_close(twice.mse[arm], found.mse[arm], rtol=0, atol=1e-5)


def test_without_action_model(truth: Tensor) -> None:
    stages = find_checkpoints(CURRENT)
    found = diagnose(load_world(tokenizer=stages["tokenizer"], dynamics=stages["dynamics"]), truth)
    assert found.actions is None and "actions: none" in found.report()


def test_refusals(world: World, truth: Tensor) -> None:
    with pytest.raises(ValueError, match="longer than the window"):
        diagnose(world, truth[:, :2])
    with pytest.raises(ValueError, match="resize them"):
        diagnose(world, torch.zeros(1, 5, 3, 64, 64))


def made_up(flips: float = 0.1, effect: ActionEffect | None = None, **levels: float) -> Diagnosis:
    """A diagnosis with given PSNR per arm: constant for tokenizer and one step, falling to it for the rollouts."""
    arms = dict(zip(ARMS, (levels["ceiling"], levels["step"], levels["pixels"], levels["tokens"]), strict=True))
    mse = {
        arm: 10 ** (-(torch.full((9,), level) if arm in ARMS[:2] else torch.linspace(arms["one step"], level, 9)) / 10)
        for arm, level in arms.items()
    }
    return Diagnosis(mse, 2, {}, flips, 0.5, effect)


@pytest.mark.parametrize(
    "levels, word",
    [
        ({"ceiling": 15, "step": 14.5, "pixels": 14.5, "tokens": 14.5}, "The tokenizer is the limit"),
        ({"ceiling": 35, "step": 33, "pixels": 18, "tokens": 30}, "Re-tokenising"),
        ({"ceiling": 35, "step": 33, "pixels": 18, "tokens": 18.5}, "teacher forcing"),
        ({"ceiling": 35, "step": 22, "pixels": 21, "tokens": 21}, "The dynamics model is the limit"),
        ({"ceiling": 35, "step": 34.5, "pixels": 34, "tokens": 34}, "No loss stands out"),
    ],
)
def test_the_cause_is_named(levels: dict[str, float], word: str) -> None:
    found = made_up(**levels)
    assert word in found.cause and found.cause in found.report()
    assert "ignored" not in found.cause


def test_ignored_actions_are_named_beside_the_cause() -> None:
    found = made_up(effect=ActionEffect(0.001, 0.2, 0.0), ceiling=35, step=34.5, pixels=34, tokens=34)
    assert found.cause.count(".") >= 2 and "Actions are ignored" in found.cause


def test_report_has_every_frame_and_measure(found: Diagnosis) -> None:
    text = found.report()
    assert [line.split()[0] for line in text.splitlines() if line.strip()[:1].isdigit()] == ["2", "3", "4", "5", "6"]
    for words in ("[0, 1]", "token flip rate", "masking test", "mean", "MSE", "RMS"):
        assert words in text


def test_pictures(found: Diagnosis) -> None:
    assert draw_diagnosis_chart(found).size[0] > 300
    assert compare_arms(found, scale=2).shape == (len(COMPARED), 5, 64 + LABEL_HEIGHT, 64, 3)
    assert compare_arms(found, scale=1, labels=False).shape == (len(COMPARED), 5, 32, 32, 3)
