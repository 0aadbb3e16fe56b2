"""Schedules as a chart and as a table."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image
from torch import Tensor

from ...training_rules import TRAIN_TIMESTEPS
from .charts import Axes, draw_line_chart

__all__ = ["draw_schedule_chart", "format_schedules"]


def draw_schedule_chart(curves: Mapping[str, Tensor]) -> Image.Image:
    """Draw sigma over steps, a line for each of ``curves`` (n + 1,); logarithmic where sigma goes above 1."""
    above_one = max(float(sigmas.max()) for sigmas in curves.values()) > 1.0
    axes = Axes("Noise levels", "step", "sigma", log=above_one)
    return draw_line_chart({name: list(enumerate(sigmas.tolist())) for name, sigmas in curves.items()}, axes)


def format_schedules(curves: Mapping[str, Tensor]) -> str:
    """Write a line for each step: its number, its sigma, and the flow timestep where sigma is at most 1."""
    lines = []
    for name, sigmas in curves.items():
        lines.append(f"{name}: {len(sigmas) - 1} steps, {float(sigmas[0]):.6g} to {float(sigmas[-1]):.6g}")
        is_flow = float(sigmas[0]) <= 1.0
        for step, sigma in enumerate(sigmas.tolist()):
            lines.append(f"{step:4d}  {sigma:.6f}" + (f"  t = {TRAIN_TIMESTEPS * sigma:.2f}" if is_flow else ""))
    return "\n".join(lines)
