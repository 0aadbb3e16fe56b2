"""Worlds played on a node: the session's frames, what its page may ask, and who goes before."""

from __future__ import annotations

import gc
import json

import torch
from check_world import clip, opened

from harness import raises, run, submodule

ACTIONS = [1, 3, 0, 2]


def played(world, context, session: str = "", **inputs):
    return run("WanLiteWorldPlay", world=world, context=context, session=session, maskgit_steps=3, **inputs)


def stages():
    return submodule("nodes.world.play_stages").STAGES


def offer(node: str, world, context, config, workflow: str = "w") -> None:
    place = submodule("nodes.world.play_stages").Place(workflow, node)
    stages().offer(place, world, context, config, "error")


def library(world, context, actions, **settings):
    """The session and the frames as the library plays them, an IMAGE with the last of the context first."""
    from importlib import import_module

    models = import_module(submodule("models.world").__name__)
    config = models.RolloutConfig(maskgit_steps=3, temperature=0.8, **settings)
    frames = context.permute(0, 3, 1, 2)[None] * 2.0 - 1.0
    session = models.WorldSession(world.sizes, frames[:, -2:], config, seed=5)
    for action in actions:
        session.step(action)
    return session, (session.frames()[0].permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)


def check_a_session_gives_the_frames_that_were_played() -> None:
    world = opened()
    context = clip(world)
    session, expected = library(world, context, ACTIONS)
    frames, actions, record = played(world, context, session.record().to_json())
    assert torch.equal(frames, expected) and json.loads(record)["actions"] == [ACTIONS]
    rolled, *_ = run("WanLiteWorldRollout", world=world, continue_from=actions, actions=actions, steps=2)
    assert rolled.shape[0] == 4


def check_nothing_played_is_the_context() -> None:
    world = opened()
    context = clip(world)
    frames, actions, record = played(world, context)
    assert torch.equal(frames, (context[-1:] * 2.0 - 1.0) / 2 + 0.5) and json.loads(record)["actions"] == [[]]
    assert actions.actions == [[]]


def check_a_page_plays_a_node_that_has_run() -> None:
    world, routes = opened(), submodule("nodes.routes.play")
    context = clip(world)
    config = submodule("models.world").RolloutConfig(maskgit_steps=3, temperature=0.8)
    offer("7", world, context, config)
    opened_session = routes.answer_play("open", {"workflow": "w", "node": "7", "seed": 5})
    key = opened_session["session"]
    for action in ACTIONS:
        routes.answer_play("step", {"session": key, "action": action})
    record = routes.answer_play("record", {"session": key})["record"]
    assert torch.equal(played(world, context, record)[0], library(world, context, ACTIONS)[1])
    routes.answer_play("close", {"session": key})
    assert routes.answer_play("open", {"workflow": "w", "node": "8"}) == {"session": None}
    assert "not open any more" in raises(ValueError, routes.answer_play, "ping", {"session": key})


def check_a_world_is_not_kept_for_the_player() -> None:
    world, routes = opened(), submodule("nodes.routes.play")
    offer("9", world, clip(world), submodule("models.world").RolloutConfig())
    key = routes.answer_play("open", {"workflow": "w", "node": "9"})["session"]
    del world
    gc.collect()
    assert "not in memory" in raises(ValueError, routes.answer_play, "step", {"session": key, "action": 0})
    assert routes.answer_play("open", {"workflow": "w", "node": "9"}) == {"session": None}


def check_workflows_do_not_mix() -> None:
    """Nodes of one number in two tabs; and a workflow whose node the host did not run again, under a new id."""
    world, routes = opened(), submodule("nodes.routes.play")
    config, frames = submodule("models.world").RolloutConfig(maskgit_steps=2), clip(world)
    offer("3", world, frames, config, "first")
    ask = {"workflow": "second", "node": "3"}
    assert routes.answer_play("open", ask) == {"session": None}
    key = routes.answer_play("open", {**ask, "has_run": True})["session"]
    change = stages().get_change("3")
    offer("3", world, frames, config, "second")
    assert routes.answer_play("step", {"session": key, "action": 1})["step"] == 1
    assert stages().get_change("3") == change
    offer("3", world, 1 - frames, config, "second")
    assert stages().get_change("3") != change
    assert "another world or context" in raises(ValueError, routes.answer_play, "step", {"session": key, "action": 1})
    first = routes.answer_play("open", {"workflow": "first", "node": "3"})
    assert routes.answer_play("step", {"session": first["session"], "action": 1})["step"] == 1


def check_a_session_that_is_not_one_is_refused() -> None:
    world = opened()
    assert "not JSON" in raises(ValueError, played, world, clip(world), "left left")
    bad = {"format": "wan_lite.world_session", "version": 1, "seed": 0, "actions": [[99]], "settings": []}
    assert "not an action of this world" in raises(ValueError, played, world, clip(world), json.dumps(bad))
