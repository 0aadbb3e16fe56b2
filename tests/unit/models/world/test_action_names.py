"""Names of a world's actions: written into its header, read back, refused where they could not be told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from wan_lite.demo import demo_file
from wan_lite.models.checkpoint import CheckpointError, read_tensors
from wan_lite.models.metadata import read_metadata, rewrite_metadata
from wan_lite.models.world import load_world, parse_actions
from wan_lite.models.world.action_names import (
    ACTION_NAMES_KEY,
    name_action,
    parse_action_names,
    write_action_names,
)

NAMES = ("stay", "left", "right", "stretch")


@pytest.fixture
def world_file(tmp_path: Path) -> Path:
    copy = tmp_path / "world.safetensors"
    shutil.copyfile(demo_file("world"), copy)
    return copy


def test_names_are_written_into_the_header_and_nothing_else_changes(world_file: Path) -> None:
    before = read_tensors(world_file)
    metadata = read_metadata(world_file)
    write_action_names(world_file, ("wait", "west", "east", "wide"), 4)
    assert load_world(world_file).action_names == ("wait", "west", "east", "wide")
    assert all(before[name].equal(tensor) for name, tensor in read_tensors(world_file).items())
    kept = {key: value for key, value in read_metadata(world_file).items() if key != ACTION_NAMES_KEY}
    assert kept == {key: value for key, value in metadata.items() if key != ACTION_NAMES_KEY}


def test_the_demo_world_names_its_actions() -> None:
    world = load_world(demo_file("world"))
    assert world.action_names == NAMES
    assert "stay, left, right, stretch" in world.describe()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "b", "c"], "3 given, but the world has 4"),
        (["a", "b", "A", "d"], "twice"),
        (["a", "b", "c", "3"], "'3'"),
        (["a", "b", "c", "random"], "'random'"),
        (["a", "b", "c", "go left"], "'go left'"),
    ],
)
def test_names_that_could_not_be_told_apart_are_refused(world_file: Path, names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_action_names(world_file, names, 4)


def test_only_a_single_file_can_hold_names(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="convert --layout world"):
        write_action_names(tmp_path / "dynamics.pth", NAMES, 4)


@pytest.mark.parametrize("entry", ["", "no json", "{}", json.dumps(["a"]), json.dumps([1, 2, 3, 4])])
def test_a_damaged_entry_costs_the_names_and_not_the_world(world_file: Path, entry: str) -> None:
    rewrite_metadata(world_file, {ACTION_NAMES_KEY: entry})
    assert load_world(world_file).action_names == ()
    with pytest.raises(ValueError, match="names"):
        parse_action_names(entry, 4)


def test_ids_and_names_may_stand_side_by_side() -> None:
    assert parse_actions("left, 0x2 stretch x3", NAMES) == [1, 0, 0, 3, 3, 3]
    assert parse_actions("RIGHT", NAMES) == [2]
    assert parse_actions("x3, ax, a", ("x3", "ax", "a")) == [0, 1, 2]
    with pytest.raises(ValueError, match="'left' is not an action"):
        parse_actions("left")


def test_an_action_without_a_name_is_its_id() -> None:
    assert [name_action(1, NAMES), name_action(1, ())] == ["left", "1"]
