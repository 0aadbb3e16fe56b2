"""Sessions behind messages: keys, idle time, changed settings, and refusals that change nothing."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wan_lite.models.world import RolloutConfig, World, WorldSession, load_world
from wan_lite.pipeline.play import sessions as module
from wan_lite.pipeline.play.sessions import Stage, UnknownSession, WorldSessions, encode_frame

HERE = Path(__file__).parents[3] / "vectors" / "tinyworlds" / "current"
CONFIG = RolloutConfig(maskgit_steps=2, temperature=0.8)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def stage() -> Stage:
    world = load_world(HERE / "checkpoints_current")
    context = load_file(HERE / "rollout.io.safetensors")["ground_truth_frames"][:1, :2]
    return Stage(lambda: world, context, CONFIG)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> WorldSessions:
    return WorldSessions(clock)


def test_a_step_shows_what_the_library_plays(stage: Stage, sessions: WorldSessions) -> None:
    opened = sessions.open(stage, {"seed": 3})
    assert opened["size"] == 32 and opened["actions"] == ["0", "1", "2", "3"] and opened["step"] == 0
    assert len(base64.b64decode(opened["frame"])) == 32 * 32 * 3
    library = WorldSession(stage.acquire(), stage.context, CONFIG, seed=3)
    for action in (1, 3, 0):
        answer = sessions.answer("step", {"session": opened["session"], "action": action})
        assert answer["frame"] == encode_frame(library.step(action)[0]) and answer["milliseconds"] >= 0
    assert answer["step"] == 3


def test_confidence_comes_when_it_is_asked_for_and_changes_no_frame(stage: Stage, sessions: WorldSessions) -> None:
    plain, asked = (sessions.open(stage, {"seed": 3})["session"] for _ in range(2))
    without = sessions.answer("step", {"session": plain, "action": 1})
    answer = sessions.answer("step", {"session": asked, "action": 1, "confidence": True})
    assert "confidence" not in without and without["frame"] == answer["frame"]
    values = base64.b64decode(answer["confidence"])
    library = WorldSession(stage.acquire(), stage.context, CONFIG, seed=3)
    library.step(1)
    assert library.confidence is not None
    assert list(values) == (library.confidence.flatten() * 255).round().int().tolist()


def test_a_session_begins_with_the_settings_of_its_page(stage: Stage, sessions: WorldSessions) -> None:
    opened = sessions.open(stage, {"settings": {"temperature": 0, "maskgit_steps": 1}})
    assert opened["settings"]["temperature"] == 0.0 and opened["settings"]["maskgit_steps"] == 1
    assert '"maskgit_steps": 1' in opened["record"]
    with pytest.raises(ValueError, match="any of temperature"):
        sessions.open(stage, {"settings": {"horizon": 2}})


def test_work_is_done_within_the_limit_of_its_stage(stage: Stage, sessions: WorldSessions) -> None:
    limits: list[str] = []

    @contextmanager
    def limit() -> Iterator[None]:
        limits.append("begin")
        yield
        limits.append("end")

    key = sessions.open(Stage(stage.acquire, stage.context, CONFIG, limit), {})["session"]
    assert limits == ["begin", "end"]
    sessions.answer("step", {"session": key, "action": 1})
    assert limits == ["begin", "end"] * 2


def test_a_page_is_answered_while_a_long_call_has_its_session(stage: Stage, sessions: WorldSessions) -> None:
    key = sessions.open(stage, {})["session"]
    with sessions._entries[key].lock:
        assert sessions.answer("ping", {"session": key}) == {"step": 0}


def test_two_sessions_do_not_mix(stage: Stage, sessions: WorldSessions) -> None:
    keys = [sessions.open(stage, {"seed": 1})["session"] for _ in range(2)]
    first = [sessions.answer("step", {"session": keys[0], "action": 2})["frame"] for _ in range(3)]
    sessions.answer("configure", {"session": keys[0], "settings": {"temperature": 5.0}})
    assert [sessions.answer("step", {"session": keys[1], "action": 2})["frame"] for _ in range(3)] == first


def test_a_record_is_continued(stage: Stage, sessions: WorldSessions) -> None:
    key = sessions.open(stage, {"seed": 9})["session"]
    sessions.answer("step", {"session": key, "action": 1})
    sessions.answer("configure", {"session": key, "settings": {"feedback": "tokens", "temperature": 1}})
    sessions.answer("step", {"session": key, "action": 2})
    record = sessions.answer("record", {"session": key})["record"]
    again = sessions.open(stage, {"record": record})
    assert again["step"] == 2 and again["settings"]["feedback"] == "tokens"
    step = [sessions.answer("step", {"session": one, "action": 0})["frame"] for one in (key, again["session"])]
    assert step[0] == step[1] and torch.equal(sessions.read_frames({"session": key}), sessions.read_frames(again))


def test_a_record_of_endless_frames_is_refused(stage: Stage, sessions: WorldSessions) -> None:
    record = WorldSession(stage.acquire(), stage.context, RolloutConfig(maskgit_steps=10**9)).record().to_json()
    with pytest.raises(ValueError, match="64 at most"):
        sessions.open(stage, {"record": record})
    assert not len(sessions)


def test_sessions_that_come_and_go_leave_one_timer(stage: Stage, sessions: WorldSessions) -> None:
    before = threading.active_count()
    for _ in range(5):
        sessions.close(sessions.open(stage, {}))
    assert threading.active_count() <= before + 1


def test_undo_and_reset(stage: Stage, sessions: WorldSessions) -> None:
    opened = sessions.open(stage, {})
    message = {"session": opened["session"], "action": 1}
    for _ in range(3):
        sessions.answer("step", message)
    assert sessions.answer("undo", {**message, "count": 2})["step"] == 1
    assert sessions.answer("undo", {**message, "count": 50})["frame"] == opened["frame"]
    sessions.answer("step", message)
    assert sessions.answer("reset", message)["step"] == 0


def test_idle_sessions_are_freed(stage: Stage, sessions: WorldSessions, clock: Clock) -> None:
    kept, left = (sessions.open(stage, {})["session"] for _ in range(2))
    for _ in range(4):
        clock.now += module.IDLE_SECONDS / 2
        sessions.answer("ping", {"session": kept})
    with pytest.raises(UnknownSession):
        sessions.answer("ping", {"session": left})
    assert len(sessions) == 1
    sessions.close({"session": kept})
    assert len(sessions) == 0


def test_only_so_many_are_open(stage: Stage, sessions: WorldSessions) -> None:
    for _ in range(module.MOST_SESSIONS):
        sessions.open(stage, {})
    with pytest.raises(ValueError, match="which is the most"):
        sessions.open(stage, {})


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("step", {"action": 4}, "from 0 to 3"),
    ("step", {"action": "1"}, "whole number"),
    ("step", {"action": True}, "whole number"),
    ("undo", {"count": 0}, "from 1"),
    ("configure", {"settings": {"context_window": 3}}, "any of temperature"),
    ("configure", {"settings": []}, "any of temperature"),
    ("configure", {"settings": {"temperature": "hot"}}, "not of type float"),
    ("configure", {"settings": {"temperature": float("nan")}}, "give 0 or more"),
    ("configure", {"settings": {"maskgit_steps": 10**9}}, "64 at most"),
]


@pytest.mark.parametrize("call, message, said", REFUSED)
def test_refusals(stage: Stage, sessions: WorldSessions, call: str, message: dict[str, Any], said: str) -> None:
    key = sessions.open(stage, {})["session"]
    before = sessions.answer("record", {"session": key})
    with pytest.raises(ValueError, match=said):
        sessions.answer(call, {"session": key, **message})
    assert sessions.answer("record", {"session": key}) == before


@pytest.mark.parametrize("key", [None, 3, "", "guess", ["a"]])
def test_a_key_must_be_known(sessions: WorldSessions, key: Any) -> None:
    with pytest.raises(UnknownSession):
        sessions.answer("step", {"session": key, "action": 0})


def test_a_world_that_cannot_run_refuses_the_call(stage: Stage, sessions: WorldSessions) -> None:
    busy = [False]

    def acquire() -> World:
        if busy[0]:
            raise ValueError("busy")
        return stage.acquire()

    key = sessions.open(Stage(acquire, stage.context, CONFIG), {})["session"]
    busy[0] = True
    with pytest.raises(ValueError, match="busy"):
        sessions.answer("step", {"session": key, "action": 0})
    assert sessions.answer("ping", {"session": key})["step"] == 0
