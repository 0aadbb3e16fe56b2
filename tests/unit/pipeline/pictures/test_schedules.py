"""A schedule as a table: what people compare when images go wrong."""

from __future__ import annotations

import torch

from wan_lite.pipeline.pictures.schedules import draw_schedule_chart, format_schedules
from wan_lite.samplers import flow_schedule

FLOW = {"sigmas": flow_schedule(4, shift=5.0).sigmas}
EPSILON = {"compare": torch.tensor([14.6, 2.0, 0.0])}


def test_the_table_has_a_line_for_each_level_with_its_flow_timestep() -> None:
    lines = format_schedules(FLOW).splitlines()
    assert lines[0] == "sigmas: 4 steps, 0.9998 to 0" and len(lines) == 6
    assert lines[1].split() == ["0", "0.999800", "t", "=", "999.80"]
    assert lines[-1].split() == ["4", "0.000000", "t", "=", "0.00"]


def test_levels_above_one_are_not_flow_timesteps() -> None:
    lines = format_schedules(FLOW | EPSILON).splitlines()
    assert lines[6] == "compare: 2 steps, 14.6 to 0"
    assert not any("t =" in line for line in lines[7:]) and len(lines) == 10


def test_a_second_curve_changes_the_chart() -> None:
    one, two = draw_schedule_chart(FLOW), draw_schedule_chart(FLOW | EPSILON)
    assert one.width == two.width and one.tobytes() != two.tobytes()
