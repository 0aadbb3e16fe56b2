"""Rollouts: every setting, batches, continuation, progress, and refusals in one sentence."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_lite.models.world import (
    RolloutConfig,
    RolloutProgress,
    World,
    find_checkpoints,
    fit_frames,
    infer_actions,
    load_world,
    parse_actions,
    rollout,
)
from wan_lite.models.world.actions import choose_action

HERE = Path(__file__).parents[3] / "vectors" / "tinyworlds"
CURRENT = HERE / "current" / "checkpoints_current"


@pytest.fixture(scope="module")
def world() -> World:
    return load_world(CURRENT)


@pytest.fixture(scope="module")
def truth() -> Tensor:
    return load_file(HERE / "current" / "rollout.io.safetensors")["ground_truth_frames"]


def refusal(run: Any, *args: Any, **settings: Any) -> str:
    with pytest.raises(ValueError) as caught:
        run(*args, **settings)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", ")."))
    return message


def test_shapes(world: World, truth: Tensor) -> None:
    result = rollout(world, truth[0, :3], steps=3, horizon=2, maskgit_steps=2)
    assert result.frames.shape == (1, 9, 3, 32, 32) and result.context_frames == 3
    assert torch.equal(result.frames[:, :3], truth[:, :3])
    assert result.new_frames.shape[1] == 6 and result.tokens.shape == (1, 6, 16) and result.actions.shape == (1, 6)


def test_frames_are_clamped_unless_told_otherwise(world: World, truth: Tensor) -> None:
    assert rollout(world, truth[:, :2], steps=2).frames.abs().max() <= 1
    assert rollout(world, truth[:, :2], steps=2, clamp=False).frames.abs().max() > 1


def test_same_seed_same_frames_and_no_other_generator_is_touched(world: World, truth: Tensor) -> None:
    before = torch.get_rng_state()
    first = rollout(world, truth[:, :2], steps=3, temperature=0.8, seed=5)
    assert torch.equal(first.frames, rollout(world, truth[:, :2], steps=3, temperature=0.8, seed=5).frames)
    assert not torch.equal(first.tokens, rollout(world, truth[:, :2], steps=3, temperature=0.8, seed=6).tokens)
    assert torch.equal(before, torch.get_rng_state())


def test_temperature_does_not_change_the_actions(world: World, truth: Tensor) -> None:
    cold, warm = (rollout(world, truth[:, :2], steps=4, actions="random", temperature=t) for t in (0.0, 1.0))
    assert torch.equal(cold.actions, warm.actions)


@pytest.mark.parametrize("feedback", ["pixels", "tokens"])
@pytest.mark.parametrize("draw", ["masked", "all"])
def test_item_of_a_batch_does_not_depend_on_the_batch(world: World, truth: Tensor, feedback: str, draw: str) -> None:
    settings: dict[str, Any] = {"steps": 3, "temperature": 0.9, "feedback": feedback, "draw": draw}
    many = rollout(world, truth[:, :2], seed=3, batch=4, **settings)
    for item in (0, 3):
        one = rollout(world, truth[:, :2], seed=3 + item, **settings)
        assert torch.equal(many.tokens[item], one.tokens[0]) and torch.equal(many.actions[item], one.actions[0])
        torch.testing.assert_close(many.frames[item], one.frames[0], rtol=0, atol=1e-5)
    listed = rollout(world, truth[:, :2], seed=[6, 3], **settings)
    assert torch.equal(listed.tokens[0], many.tokens[3])


def test_a_batch_of_actions(world: World, truth: Tensor) -> None:
    many = rollout(world, truth[:, :2], steps=3, actions=[[0, 1, 2], [3, 3, 3]])
    assert torch.equal(many.tokens[1], rollout(world, truth[:, :2], steps=3, actions=[3]).tokens[0])
    assert not torch.equal(many.tokens[0], many.tokens[1])
    tensor = rollout(world, truth[:, :2], steps=3, actions=torch.tensor([[0, 1, 2], [3, 3, 3]]))
    assert torch.equal(many.tokens, tensor.tokens)


def test_a_short_list_repeats_its_last_action(world: World, truth: Tensor) -> None:
    assert rollout(world, truth[:, :2], steps=4, actions=[1, 2]).actions.tolist() == [[1, 2, 2, 2]]
    assert rollout(world, truth[:, :2], steps=1, actions=[1, 2]).actions.tolist() == [[1]]


def test_repeat_holds_one_action(world: World, truth: Tensor) -> None:
    result = rollout(world, truth[:, :2], steps=4, actions="repeat")
    assert len(set(result.actions[0].tolist())) == 1
    more = rollout(world, result.state, steps=2, actions="repeat")
    assert set(more.actions[0].tolist()) == set(result.actions[0].tolist())


def test_diversity_setting_is_used(world: World, truth: Tensor) -> None:
    never, always = (
        rollout(world, truth[:, :2], steps=12, maskgit_steps=1, action_diversity=d).actions for d in (0.0, 1.0)
    )
    assert len(set(always[0, 2:6].tolist()) | set(always[0, :2].tolist())) == 4
    assert not torch.equal(never, always)


@pytest.mark.parametrize("feedback", ["pixels", "tokens"])
@pytest.mark.parametrize("draw", ["masked", "all"])
def test_going_on_equals_never_stopping(world: World, truth: Tensor, feedback: str, draw: str) -> None:
    settings: dict[str, Any] = {"temperature": 0.9, "feedback": feedback, "draw": draw, "context_window": 3}
    whole = rollout(world, truth[:, :3], steps=5, batch=2, seed=4, **settings)
    first = rollout(world, truth[:, :3], steps=2, batch=2, seed=4, **settings)
    second = rollout(world, first.state, steps=3, **settings)
    assert torch.equal(whole.frames, torch.cat([first.frames, second.new_frames], dim=1))
    assert torch.equal(whole.actions, torch.cat([first.actions, second.actions], dim=1))
    assert torch.equal(second.frames[:, :3], first.frames[:, -3:])


def test_feedback_may_change_when_going_on(world: World, truth: Tensor) -> None:
    first = rollout(world, truth[:, :2], steps=2)
    kept = rollout(world, first.state, steps=1, feedback="tokens", actions=[0])
    assert torch.equal(kept.tokens, rollout(world, first.state, steps=1, actions=[0]).tokens)
    tokens = rollout(world, truth[:, :2], steps=2, feedback="tokens")
    assert rollout(world, tokens.state, steps=1, feedback="pixels").frames.shape[1] == 3


def test_token_feedback_never_tokenises_again(world: World, truth: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    tokenize = world.tokenizer.tokenize
    monkeypatch.setattr(world.tokenizer, "tokenize", lambda frames: calls.append(len(frames)) or tokenize(frames))
    rollout(world, truth[:, :2], steps=4, feedback="tokens", batch=3)
    assert calls == [1]  # one clip, tokenised once for the whole batch
    calls.clear()
    rollout(world, truth[:, :2], steps=3, batch=3)
    assert calls == [1, 3, 3]


def test_windows(world: World, truth: Tensor) -> None:
    two = rollout(world, truth[:, :4], steps=1, context_window=2, actions=[0])
    assert torch.equal(two.tokens, rollout(world, truth[:, 2:4], steps=1, context_window=2, actions=[0]).tokens)
    assert not torch.equal(two.tokens, rollout(world, truth[:, :4], steps=1, context_window=4, actions=[0]).tokens)
    everything = rollout(world, truth[:, :3], steps=2, context_window=0, actions=[0])
    assert everything.state.window.frames.shape[1] == 5


def test_teacher_forcing_predicts_from_true_frames(world: World, truth: Tensor) -> None:
    forced = rollout(world, truth[:, :6], steps=4, teacher_forced=True, actions=None)
    last = rollout(world, truth[:, 3:5], steps=1, actions=None)
    assert torch.equal(forced.tokens[:, 3:], last.tokens) and forced.context_frames == 2


def test_no_actions_differs_from_actions(world: World, truth: Tensor) -> None:
    assert rollout(world, truth[:, :2], steps=1, actions=None).actions is None


def test_action_guidance(world: World, truth: Tensor) -> None:
    plain, same, none = (
        rollout(world, truth[:, :2], steps=2, actions=[2], maskgit_steps=1, **more)
        for more in ({}, {"action_guidance": 1.0}, {"action_guidance": 0.0})
    )
    assert torch.equal(plain.tokens, same.tokens)
    assert torch.equal(none.tokens, rollout(world, truth[:, :2], steps=2, actions=None, maskgit_steps=1).tokens)
    strong = rollout(world, truth[:, :2], steps=2, actions=[2], maskgit_steps=1, action_guidance=8.0)
    assert not torch.equal(plain.tokens, strong.tokens)


def test_schedule_and_passes(world: World, truth: Tensor) -> None:
    runs = [{"maskgit_steps": 2}, {"maskgit_steps": 10}, {"maskgit_steps": 10, "schedule_k": 0.1}]
    assert len({tuple(rollout(world, truth[:, :2], steps=1, **run).tokens.flatten().tolist()) for run in runs}) > 1


def test_progress_and_interrupt(world: World, truth: Tensor) -> None:
    seen: list[RolloutProgress] = []
    rollout(world, truth[:, :2], steps=2, maskgit_steps=3, on_progress=seen.append)
    assert [(p.step, p.maskgit_step, p.finished is None) for p in seen] == [
        (0, 0, True), (0, 1, True), (0, 2, True), (0, 3, False), (1, 0, True), (1, 1, True), (1, 2, True), (1, 3, False)
    ]  # fmt: skip
    assert seen[3].finished.shape == (1, 1, 3, 32, 32) and seen[3].steps == 2 and seen[3].maskgit_steps == 3

    def stop(progress: RolloutProgress) -> None:
        if progress.step == 1 and progress.maskgit_step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollout(world, truth[:, :2], steps=5, maskgit_steps=3, on_progress=stop)


def test_low_precision_runs(truth: Tensor) -> None:
    small = load_world(CURRENT, dtype=torch.bfloat16)
    result = rollout(small, truth[:, :2], steps=2, temperature=0.5, action_guidance=1.5)
    assert result.frames.dtype == torch.float32 and result.frames.isfinite().all()


def test_inferred_actions_drive_a_rollout(world: World, truth: Tensor) -> None:
    actions = infer_actions(world, truth)
    assert actions.shape == (1, truth.shape[1] - 1)
    assert rollout(world, truth[:, :2], steps=3, actions=actions[:, 1:]).actions.tolist() == [actions[0, 1:4].tolist()]


@pytest.mark.parametrize(
    "text, actions",
    [("0, 3,3 1", [0, 3, 3, 1]), ("[2, 1]", [2, 1]), ("3x3 0", [3, 3, 3, 0]), (" Random ", "random"), ("none", None)],
)
def test_actions_as_text(text: str, actions: Any) -> None:
    assert parse_actions(text) == actions


def test_text_that_is_no_action() -> None:
    assert "'up'" in refusal(parse_actions, "0, up")


def test_rule_needs_history() -> None:
    generator = torch.Generator().manual_seed(0)
    assert 0 <= choose_action("repeat", [], 4, generator) < 4 and choose_action("repeat", [2], 4, generator) == 2


def test_fit_frames() -> None:
    wide = torch.zeros(2, 3, 64, 96)
    wide[..., 16:80] = 1.0
    assert torch.equal(fit_frames(wide, 32), torch.ones(2, 3, 32, 32))
    assert fit_frames(wide, 128).shape == (2, 3, 128, 128) and torch.equal(
        fit_frames(wide[..., :64], 64), wide[..., :64]
    )


BAD: list[tuple[dict[str, Any], str]] = [
    ({"context_window": 5}, "3 frames given, but context_window is 5"),
    ({"actions": [0, 4]}, "4 is not an action of this world; ids run from 0 to 3"),
    ({"actions": [-1]}, "-1 is not an action"),
    ({"actions": []}, "the list is empty"),
    ({"actions": "left"}, "'left' is not a rule"),
    ({"steps": 0}, "steps: 0 given"),
    ({"horizon": 0}, "horizon: 0 given"),
    ({"maskgit_steps": 0}, "maskgit_steps: 0 given"),
    ({"temperature": -0.1}, "temperature: -0.1 given"),
    ({"temperature": float("nan")}, "temperature: nan given"),
    ({"top_p": 1.5}, "top_p: 1.5 given"),
    ({"top_k": -1}, "top_k: -1 given"),
    ({"schedule_k": 0}, "schedule_k: 0 given"),
    ({"action_diversity": 2}, "action_diversity: 2 given"),
    ({"feedback": "latents"}, "give one of pixels, tokens"),
    ({"draw": "some"}, "give one of masked, all"),
    ({"context_actions": "none"}, "give one of history, inferred"),
    ({"latent_noise": 0.1}, "only the legacy format"),
    ({"temprature": 1.0}, "there is no setting 'temprature'"),
    ({"batch": 3, "seed": [1, 2]}, "give 1 or 3"),
    ({"teacher_forced": True, "steps": 5}, "5 steps need 6 true frames, 3 given"),
]


@pytest.mark.parametrize("settings, said", BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_refusals(world: World, truth: Tensor, settings: dict[str, Any], said: str) -> None:
    assert said in refusal(rollout, world, truth[:, :3], **settings)


@pytest.mark.parametrize(
    "frames, said",
    [
        (torch.zeros(1, 0, 3, 32, 32), "empty"),
        (torch.zeros(0, 2, 3, 32, 32), "empty"),
        (torch.zeros(1, 2, 3, 64, 64), "64x64 pixels, but this world was trained on 32x32; resize"),
        (torch.zeros(1, 2, 32, 32, 3), "give frames (b, t, 3, 32, 32)"),
        (torch.full((1, 2, 3, 32, 32), 255.0), "values up to 255"),
    ],
)
def test_bad_context(world: World, frames: Tensor, said: str) -> None:
    assert said in refusal(rollout, world, frames)


def test_refusals_when_going_on(world: World, truth: Tensor) -> None:
    state = rollout(world, truth[:, :2], steps=1).state
    assert "kept 2" in refusal(rollout, world, state, context_window=3)
    assert "no true frames" in refusal(rollout, world, state, teacher_forced=True)


def test_actions_of_the_context_need_an_action_model(truth: Tensor) -> None:
    stages = find_checkpoints(CURRENT)
    blind = load_world(tokenizer=stages["tokenizer"], dynamics=stages["dynamics"])
    assert "without a latent action model" in refusal(rollout, blind, truth[:, :2], actions=[0])
    assert rollout(blind, truth[:, :1], actions=[0], context_window=1, steps=2).frames.shape[1] == 3
    assert rollout(blind, truth[:, :2], actions=None, steps=1).frames.shape[1] == 3


EFFECTIVE: dict[str, Any] = {
    "horizon": 2,
    "maskgit_steps": 1,
    "schedule_k": 0.1,
    "temperature": 2.0,
    "top_k": 1,
    "top_p": 0.1,
    "action_guidance": 8.0,
    "draw": "all",
    "context_window": 3,
    "feedback": "tokens",
    "clamp": False,
    "action_diversity": 1.0,
    "context_actions": "inferred",
    "teacher_forced": True,
}
"""For every setting of this format a value that must change a rollout."""


def test_every_setting_has_a_value_that_must_have_an_effect() -> None:
    assert EFFECTIVE.keys() | {"latent_noise"} == {field.name for field in fields(RolloutConfig)}


@pytest.mark.parametrize("name", EFFECTIVE)
def test_every_setting_has_an_effect(world: World, truth: Tensor, name: str) -> None:
    usual: dict[str, Any] = {"steps": 4, "temperature": 0.9, "seed": 3}
    plain = rollout(world, truth[:, :6], **usual)
    changed = rollout(world, truth[:, :6], **(usual | {name: EFFECTIVE[name]}))
    assert plain.frames.shape != changed.frames.shape or not torch.equal(plain.frames, changed.frames)
