"""Sessions: the same bytes as a rollout, undo, forks, changed settings, and what is held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_lite.models.world import RolloutConfig, SessionRecord, World, WorldSession, load_world, replay, rollout
from wan_lite.models.world.play import session as session_module

HERE = Path(__file__).parents[4] / "vectors" / "tinyworlds"
ACTIONS = [0, 3, 1, 1, 2, 0]
WARM = RolloutConfig(maskgit_steps=3, temperature=0.9)


@pytest.fixture(scope="module")
def world() -> World:
    return load_world(HERE / "current" / "checkpoints_current")


@pytest.fixture(scope="module")
def truth() -> Tensor:
    return load_file(HERE / "current" / "rollout.io.safetensors")["ground_truth_frames"]


def play(session: WorldSession, actions: list[int]) -> Tensor:
    return torch.stack([session.step(action) for action in actions], dim=1)


@pytest.mark.parametrize("feedback", ["pixels", "tokens"])
@pytest.mark.parametrize("draw", ["masked", "all"])
@pytest.mark.parametrize("window", [2, 3])
def test_a_session_equals_a_rollout(world: World, truth: Tensor, feedback: Any, draw: Any, window: int) -> None:
    config = RolloutConfig(
        feedback=feedback, draw=draw, context_window=window, maskgit_steps=3, temperature=0.9, action_guidance=1.5
    )
    played = play(WorldSession(world, truth[:, :3], config, seed=7), ACTIONS)
    rolled = rollout(world, truth[:, :3], steps=len(ACTIONS), actions=ACTIONS, seed=7, config=config)
    assert torch.equal(played, rolled.new_frames)


def test_items_of_a_batch_are_sessions_of_their_own(world: World, truth: Tensor) -> None:
    both = WorldSession(world, truth[:, :2].expand(2, -1, -1, -1, -1), WARM, seed=4)
    frames = torch.stack([both.step([action, 3 - action]) for action in ACTIONS], dim=1)
    for item, actions in enumerate((ACTIONS, [3 - action for action in ACTIONS])):
        alone = WorldSession(world, truth[:, :2], WARM, seed=4 + item)
        torch.testing.assert_close(frames[item : item + 1], play(alone, actions), rtol=0, atol=1e-5)


def test_settings_may_change_and_the_record_replays(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], WARM, seed=3)
    frames = [play(session, ACTIONS[:2])]
    session.configure(temperature=0.0, feedback="tokens")
    frames.append(play(session, ACTIONS[2:4]))
    session.configure(feedback="pixels", temperature=1.5, maskgit_steps=5)
    frames.append(play(session, ACTIONS[4:]))
    record = SessionRecord.from_json(session.record().to_json(world="w"))
    assert record == session.record() and [step for step, _ in record.settings] == [0, 2, 4]
    again = replay(world, truth[:, :2], record)
    assert torch.equal(again.new_frames, torch.cat(frames, dim=1)) and again.actions.tolist() == [ACTIONS]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_undo_is_as_if_it_had_not_been_played(world: World, truth: Tensor, count: int) -> None:
    session = WorldSession(world, truth[:, :2], WARM, seed=1)
    frames = play(session, ACTIONS)
    shown = session.undo(count)
    kept = len(ACTIONS) - count
    assert torch.equal(shown, frames[:, kept - 1] if kept else truth[:, 1]) and session.steps == kept
    assert torch.equal(play(session, ACTIONS[kept:]), frames[:, kept:])


def test_older_steps_are_played_again(world: World, truth: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "KEPT", 2)
    session = WorldSession(world, truth[:, :2], WARM, seed=1)
    first = play(session, ACTIONS[:3])
    session.configure(temperature=0.3)
    frames = torch.cat([truth[:, 1:2], first, play(session, ACTIONS[3:])], dim=1)
    assert len(session._kept) == 3
    assert torch.equal(session.frames(), frames) and torch.equal(session.frames(2), frames[:, 2:])
    assert torch.equal(session.undo(5), frames[:, 1]) and session.config.temperature == 0.3
    assert session.record().settings == ((0, WARM), (1, session.config)) and session.record().actions == (
        (ACTIONS[0],),
    )


def test_undo_takes_back_changed_settings(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], WARM)
    session.step(1)
    session.configure(temperature=0.2)
    session.step(1)
    session.undo(1)
    session.configure(temperature=0.9)
    session.step(1)
    assert session.record().settings == ((0, WARM),)


def test_settings_that_hold_from_the_next_step_on_are_in_the_record(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], WARM, seed=3)
    session.step(1)
    session.configure(temperature=0.3)
    session.step(2)
    session.undo(1)
    assert [step for step, _ in session.record().settings] == [0, 1]
    other = WorldSession(world, truth[:, :2], WARM, seed=3).play_record(
        SessionRecord.from_json(session.record().to_json())
    )
    assert other.config == session.config
    assert torch.equal(other.step(3), session.step(3))


def test_a_fork_goes_its_own_way(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], WARM, seed=1)
    play(session, ACTIONS[:3])
    other = session.fork()
    frames = play(other, [3, 3])
    assert session.steps == 3 and other.steps == 5
    whole = WorldSession(world, truth[:, :2], WARM, seed=1)
    assert torch.equal(play(whole, [*ACTIONS[:3], 3, 3])[:, 3:], frames)
    assert torch.equal(play(session, ACTIONS[3:]), rollout_frames(world, truth)[:, 3:])


def rollout_frames(world: World, truth: Tensor) -> Tensor:
    return rollout(world, truth[:, :2], steps=6, actions=ACTIONS, seed=1, config=WARM).new_frames


def test_reset_begins_anew(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], WARM, seed=1)
    play(session, [2, 2])
    assert torch.equal(session.reset(), truth[:, 1]) and session.steps == 0
    assert torch.equal(play(session, ACTIONS), rollout_frames(world, truth))


def test_an_interrupted_step_leaves_no_trace(world: World, truth: Tensor) -> None:
    session = WorldSession(world, truth[:, :2], WARM, seed=1)
    first = play(session, ACTIONS[:2])

    def stop(number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.step(ACTIONS[2], stop)
    assert torch.equal(torch.cat([first, play(session, ACTIONS[2:])], 1), rollout_frames(world, truth))


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_confidence_is_the_probability_of_each_chosen_token(world: World, truth: Tensor, temperature: float) -> None:
    """With one pass over a known context, the dynamics model itself says it."""
    config = RolloutConfig(maskgit_steps=1, temperature=temperature, feedback="tokens")
    session = WorldSession(world, truth[:1, :2], config, seed=3)
    assert session.confidence is None
    tokens = world.make_predictor(config).make_window(truth[:1, :2].to(world.device)).cached
    session.step(1)
    predictor, sure = cast(Any, world.make_predictor(config)), session.confidence
    assert tokens is not None and sure is not None and sure.shape == (1, 4, 4)
    latents = predictor.tokenizer.to_latents(tokens)
    actions = predictor._make_action_vectors(truth[:1, :2], torch.tensor([[1]]))
    cache = predictor.dynamics.prefill(latents, actions, 1)
    masked = predictor.dynamics.mask_token.expand(1, 1, 16, -1)
    logits = predictor.dynamics.decode_step(masked, cache, torch.arange(16).expand(1, -1))
    chosen = session.state.window.cached
    assert chosen is not None
    probs = (logits / temperature if temperature else logits).softmax(-1)
    expected = probs.gather(-1, chosen[:, -1].unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(sure.flatten(1), expected, atol=1e-5)


def test_the_legacy_format_is_played_too() -> None:
    world = load_world(HERE / "legacy")
    frames = torch.rand(1, 3, 3, world.frame_size, world.frame_size) * 2 - 1
    config = RolloutConfig(context_window=4, latent_noise=0.02)
    session = WorldSession(world, frames, config, seed=2)
    rolled = rollout(world, frames, steps=4, actions=[1, 0, 1, 1], seed=2, config=config)
    assert torch.equal(play(session, [1, 0, 1, 1]), rolled.new_frames)


REFUSED: list[tuple[Any, str]] = [
    (lambda session: session.step(99), "not one of this world"),
    (lambda session: session.step([0, 1]), "2 given for 1"),
    (lambda session: session.undo(1), "0 were played"),
    (lambda session: session.configure(horizon=2), "one frame for each action"),
    (lambda session: session.configure(context_window=9), "use context_window=2"),
    (lambda session: session.configure(colour=1), "no setting 'colour'"),
]


@pytest.mark.parametrize("ask, said", REFUSED)
def test_refusals(world: World, truth: Tensor, ask: Any, said: str) -> None:
    session = WorldSession(world, truth[:, :2], WARM)
    with pytest.raises(ValueError, match=said):
        ask(session)
    assert session.config == WARM and session.steps == 0


GOOD: dict[str, Any] = {
    "format": "wan_lite.world_session",
    "version": 1,
    "seed": 0,
    "actions": [[0, 1]],
    "settings": [{"step": 0, "temperature": 1}],
}
BAD = [
    ({"version": 2}, "version 1"),
    ({"seed": -1}, "the seed is -1"),
    ({"seed": True}, "the seed is True"),
    ({"actions": []}, "1 to 64 lists"),
    ({"actions": [[0], [0, 1]]}, "one length"),
    ({"actions": [[0, "1"]]}, "not a whole number"),
    ({"settings": [{"step": 1}]}, "the first are of step 0"),
    ({"settings": [{"step": 0, "temperature": "1"}]}, "not of type float"),
    ({"settings": [{"step": 0, "temperature": -1}]}, "give 0 or more"),
    ({"settings": [{"step": 0, "colour": 1}]}, "no setting 'colour'"),
    ({"settings": [{"step": 0, "horizon": 2}]}, "one frame for each action"),
    ({"settings": [{"step": 0, "teacher_forced": True}]}, "one frame for each action"),
    ({"settings": {}}, "list of objects"),
]


@pytest.mark.parametrize("change, said", BAD)
def test_records_that_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SessionRecord.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 10_000])
def test_text_that_is_not_a_record(text: str) -> None:
    with pytest.raises(ValueError, match="session: is not"):
        SessionRecord.from_json(text)


def test_a_record_reads_what_people_write() -> None:
    assert SessionRecord.from_json(json.dumps(GOOD)).settings[0][1] == RolloutConfig(temperature=1.0)
