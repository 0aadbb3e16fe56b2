"""Rollouts for people: actions read and written, labels, the report, the frames of several rollouts on one page."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wan_lite.models.world import Rollout, RolloutConfig
from wan_lite.pipeline.pictures.layout import LABEL_HEIGHT, Layout, arrange_frames
from wan_lite.pipeline.rollouts import format_actions, label_frames, parse_action_lists, report_rollout


class NamedWorld:
    """As much of a world as a report needs."""

    action_names = ("stay", "left", "right", "stretch")

    def describe(self) -> str:
        return "a world of 8x8"


def make_rollout(actions: list[list[int]] | None, frames: torch.Tensor | None = None) -> Rollout:
    frames = torch.zeros(2, 5, 3, 8, 8) if frames is None else frames
    none: Any = None
    return Rollout(frames, 2, None if actions is None else torch.tensor(actions), torch.zeros(2, 3, 4), none)


def test_actions_are_read_a_line_for_each_rollout() -> None:
    assert parse_action_lists("0, 3x2\n\n 1 2 \n") == [[0, 3, 3], [1, 2]]


@pytest.mark.parametrize("text", ["", "  \n", "diversity", "0, 1\nrandom", "none"])
def test_what_is_not_a_list_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="0, 3, 3x4") as refusal:
        parse_action_lists(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("text", ["0, 3, 3", "1, 2\n3"])
def test_actions_are_written_as_they_are_read(text: str) -> None:
    assert format_actions(parse_action_lists(text)) == text


def test_a_rule_is_written_by_its_name_and_no_actions_as_none() -> None:
    assert [format_actions("diversity"), format_actions(None)] == ["diversity", "none"]


def test_every_frame_is_labelled_with_its_step_and_the_action_before_it() -> None:
    result = make_rollout([[0, 1, 2], [3, 3, 3]])
    assert label_frames(result, with_context=True) == [
        ["context", "context", "1: 0", "2: 1", "3: 2"],
        ["context", "context", "1: 3", "2: 3", "3: 3"],
    ]
    assert label_frames(result, with_context=False)[0] == ["1: 0", "2: 1", "3: 2"]
    assert label_frames(make_rollout(None), with_context=False) == [["1: ", "2: ", "3: "]] * 2


def test_names_stand_in_labels_and_lists_where_the_world_has_them() -> None:
    names = NamedWorld.action_names
    result = make_rollout([[0, 1, 2], [3, 3, 3]])
    assert label_frames(result, with_context=False, names=names)[0] == ["1: stay", "2: left", "3: right"]
    assert parse_action_lists("left x2, stay\n3, Stretchx2", names) == [[1, 1, 0], [3, 3, 3]]
    assert parse_action_lists(format_actions([[2, 0]], names), names) == [[2, 0]]
    with pytest.raises(ValueError, match="stay, left, right, stretch"):
        parse_action_lists("jump", names)


def test_the_report_measures_change_and_what_left_the_range() -> None:
    frames = torch.zeros(2, 5, 3, 8, 8)
    frames[:, 3] = 1.0  # up and down again: half of the range, twice
    frames[0, 4] = 1.5  # an item of six new frames
    report = report_rollout(NamedWorld(), make_rollout([[0, 1, 2], [3, 3, 3]], frames), RolloutConfig(), 7)  # type: ignore[arg-type]
    assert "a world of 8x8" in report and "2 rollout(s) of 3 frames from 2 context frames; seed 7" in report
    assert "0.4375" in report and "16.7%" in report
    assert report.endswith("Actions: stay, left, right\nstretch, stretch, stretch")


@pytest.mark.parametrize(
    ("layout", "rollouts", "shape"),
    [
        ("frames", 2, (6, 8, 8, 3)),
        ("side by side", 2, (3, 8, 18, 3)),
        ("contact sheet", 2, (1, 18, 28, 3)),
        ("contact sheet", 1, (1, 18, 18, 3)),
    ],
)
def test_layouts_have_the_size_of_their_frames_and_gaps(layout: Layout, rollouts: int, shape: tuple[int, ...]) -> None:
    assert arrange_frames(torch.rand(rollouts, 3, 8, 8, 3), layout).shape == shape


def test_labels_stand_above_each_frame_and_leave_its_pixels_alone() -> None:
    frames = torch.rand(2, 3, 8, 8, 3)
    plain, labelled = arrange_frames(frames, "frames"), arrange_frames(frames, "frames", [["a", "b", "c"]] * 2)
    assert labelled.shape == (6, 8 + LABEL_HEIGHT, 8, 3)
    assert torch.equal(labelled[:, LABEL_HEIGHT:], plain)
    with pytest.raises(ValueError, match="2 given for 3 frames"):
        arrange_frames(frames, "frames", [["a", "b"]] * 2)
