"""The nodes that make or change SIGMAS: their levels from their widgets, by node type.

Source: ComfyUI 0.33.0, comfy_extras/nodes_custom_sampler.py, nodes_flux.py, nodes_lt.py, nodes_ideogram4.py; Align
Your Steps, arXiv 2404.14507 (its published levels); OptimalSteps, arXiv 2503.21774 (bebebe666/OptimalSteps).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from .sampling import ModelSampling
from .schedulers import (
    UnknownLevels,
    beta_levels,
    exponential_levels,
    interpolate_loglinear,
    karras_levels,
    laplace_levels,
    linspace,
    polyexponential_levels,
    schedule_levels,
    vp_levels,
)

__all__ = ["FROM_MODEL", "FROM_NUMBERS", "FROM_SIGMAS", "LONGEST", "NOT_COMPUTED", "basic_levels", "ksampler_levels"]

Values = Mapping[str, Any]

LONGEST = 20_000  # levels of one schedule

DROPS_PENULTIMATE = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")
"""Samplers for which KSampler takes one step more and leaves its last level before 0 out."""

ALIGN_YOUR_STEPS = {
    "SD1": (14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904,
            0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582),
    "SDXL": (14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289,
             0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582),
    "SVD": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip
OPTIMAL_STEPS = {
    "FLUX": (0.9968, 0.9886, 0.9819, 0.975, 0.966, 0.9471, 0.9158, 0.8287, 0.5512, 0.2808, 0.001),
    "Wan": (1.0, 0.997, 0.995, 0.993, 0.991, 0.989, 0.987, 0.985, 0.98, 0.975, 0.973, 0.968, 0.96, 0.946, 0.927, 0.902,
            0.864, 0.776, 0.539, 0.208, 0.001),
    "Chroma": (0.992, 0.99, 0.988, 0.985, 0.982, 0.978, 0.973, 0.968, 0.961, 0.953, 0.943, 0.931, 0.917, 0.9, 0.881,
               0.858, 0.832, 0.802, 0.769, 0.731, 0.69, 0.646, 0.599, 0.55, 0.501, 0.451, 0.402, 0.355, 0.311, 0.27,
               0.232, 0.199, 0.169, 0.143, 0.12, 0.101, 0.084, 0.07, 0.058, 0.048, 0.001),
}  # fmt: skip


def ksampler_levels(
    model: ModelSampling, sampler: str, scheduler: str, steps: int, denoise: float = 1.0
) -> list[float]:
    """Return the levels of KSampler: the tail of a longer schedule where ``denoise`` is below 1.

    Raises:
        UnknownLevels: They cannot be computed.
    """
    if denoise > 0.9999:
        return _schedule_ksampler(model, sampler, scheduler, steps)
    return (
        _schedule_ksampler(model, sampler, scheduler, _count_total_steps(steps, denoise))[-(steps + 1) :]
        if denoise > 0
        else []
    )


def _schedule_ksampler(model: ModelSampling, sampler: str, scheduler: str, steps: int) -> list[float]:
    if sampler not in DROPS_PENULTIMATE:
        return schedule_levels(scheduler, steps, model)
    levels = schedule_levels(scheduler, steps + 1, model)
    return levels[:-2] + levels[-1:]


def basic_levels(model: ModelSampling, values: Values) -> list[float]:
    """Return the levels of BasicScheduler."""
    steps, denoise = int(values["steps"]), float(values["denoise"])
    if denoise <= 0:
        return []
    total = _count_total_steps(steps, denoise) if denoise < 1 else steps
    return schedule_levels(str(values["scheduler"]), total, model)[-(steps + 1) :]


def _count_total_steps(steps: int, denoise: float) -> int:
    if steps / denoise > LONGEST:
        raise UnknownLevels(f"denoise {denoise:g} makes a schedule of more than {LONGEST} steps")
    return int(steps / denoise)


def _schedule_sd_turbo(model: ModelSampling, values: Values) -> list[float]:
    start = 10 - int(10 * float(values["denoise"]))
    timesteps = [100 * i - 1 for i in range(10, 0, -1)][start : start + int(values["steps"])]
    return [model.sigma(t) for t in timesteps] + [0.0]


FROM_MODEL: dict[str, Callable[[ModelSampling, Values], list[float]]] = {
    "BasicScheduler": basic_levels,
    "BetaSamplingScheduler": lambda m, v: beta_levels(m, int(v["steps"]), float(v["alpha"]), float(v["beta"])),
    "SDTurboScheduler": _schedule_sd_turbo,
}
"""Nodes that read a model's table."""


def _parse_manual(values: Values) -> list[float]:
    return [float(found) for found in re.findall(r"[-+]?(?:\d*\.*\d+)", str(values["sigmas"]))]


def _schedule_published(table: Mapping[str, tuple[float, ...]], values: Values) -> list[float]:
    levels, steps = table.get(str(values["model_type"])), int(values["steps"])
    if levels is None:
        raise UnknownLevels(f"model_type {values['model_type']!r} is not one of {', '.join(table)}")
    denoise = float(values["denoise"])
    if denoise <= 0:
        return []
    found = list(levels) if steps + 1 == len(levels) else interpolate_loglinear(levels, steps + 1)
    kept = found[-(round(steps * denoise) + 1) :] if denoise < 1 else found
    return [*kept[:-1], 0.0]


def _schedule_flux2(values: Values) -> list[float]:
    """Flux 2: the shift follows from the number of image tokens, and below 4300 of them from the steps."""
    steps, tokens = int(values["steps"]), round(int(values["width"]) * int(values["height"]) / 256)
    many = 0.00016927 * tokens + 0.45666666  # at 200 steps
    few = 8.73809524e-05 * tokens + 1.89833333  # at 10 steps
    mu = many if tokens > 4300 else many + (many - few) / 190 * (steps - 200)
    return _shift_evenly(steps, mu)


def _shift_evenly(steps: int, mu: float) -> list[float]:
    return [math.exp(mu) / (math.exp(mu) + 1 / t - 1) if t else 0.0 for t in linspace(1, 0, steps + 1)]


def _schedule_ltxv(values: Values) -> list[float]:
    """LTX-Video: a shift linear in the number of latents (4096 without a link), stretched to end at ``terminal``."""
    least, most = float(values["base_shift"]), float(values["max_shift"])
    part = (int(values.get("tokens", 4096)) - 1024) / (4096 - 1024)
    levels = _shift_evenly(int(values["steps"]), least + (most - least) * part)
    if not values["stretch"]:
        return levels
    scale = (1 - levels[-2]) / (1 - float(values["terminal"]))
    return [1 - (1 - level) / scale if scale else level for level in levels[:-1]] + [0.0]


def _schedule_ideogram(values: Values) -> list[float]:
    """Ideogram 4: quantiles of a logit-normal distribution whose mean grows with the image's size."""
    steps, std = int(values["steps"]), float(values["std"])
    mean = float(values["mu"]) + 0.5 * math.log(int(values["width"]) * int(values["height"]) / 512**2)
    least, most = 1 / (1 + math.exp(9.0)), 1 / (1 + math.exp(-7.5))  # log SNR from -15 to 18
    inner = (mean + std * NormalDist().inv_cdf(i / steps) for i in range(steps - 1, 0, -1))
    falling = [1 - min(max(1 / (1 + math.exp(x)), least), most) for x in inner]
    return [1 - least, *falling, 0.0]


def _take_numbers(*names: str) -> Callable[[Values], list[float]]:
    return lambda values: [float(values[name]) for name in names]


FROM_NUMBERS: dict[str, Callable[[Values], list[float]]] = {
    "ManualSigmas": _parse_manual,
    "KarrasScheduler": lambda v: karras_levels(int(v["steps"]), *_take_numbers("sigma_min", "sigma_max", "rho")(v)),
    "ExponentialScheduler": lambda v: exponential_levels(int(v["steps"]), *_take_numbers("sigma_min", "sigma_max")(v)),
    "PolyexponentialScheduler": lambda v: polyexponential_levels(
        int(v["steps"]), *_take_numbers("sigma_min", "sigma_max", "rho")(v)
    ),
    "LaplaceScheduler": lambda v: laplace_levels(
        int(v["steps"]), *_take_numbers("sigma_min", "sigma_max", "mu", "beta")(v)
    ),
    "VPScheduler": lambda v: vp_levels(int(v["steps"]), *_take_numbers("beta_d", "beta_min", "eps_s")(v)),
    "AlignYourStepsScheduler": lambda v: _schedule_published(ALIGN_YOUR_STEPS, v),
    "OptimalStepsScheduler": lambda v: _schedule_published(OPTIMAL_STEPS, v),
    "Flux2Scheduler": _schedule_flux2,
    "LTXVScheduler": _schedule_ltxv,
    "Ideogram4Scheduler": _schedule_ideogram,
}
"""Nodes that make levels of their widgets alone."""

NOT_COMPUTED = {"GITSScheduler": "a published table of numbers, which the check does not have"}
"""Nodes of core whose levels are no formula, and what they are instead."""


def _split_levels(levels: list[float], values: Values, slot: int) -> list[float]:
    step = int(values["step"])
    return levels[step:] if slot else levels[: step + 1]


def _split_denoise(levels: list[float], values: Values, slot: int) -> list[float]:
    kept = round(max(len(levels) - 1, 0) * float(values["denoise"]))
    return levels[-(kept + 1) :] if slot else levels[: len(levels) - kept] if kept else []


def _flip_levels(levels: list[float], values: Values, slot: int) -> list[float]:
    flipped = levels[::-1]
    return [0.0001, *flipped[1:]] if flipped and flipped[0] == 0 else flipped


def _set_first(levels: list[float], values: Values, slot: int) -> list[float]:
    return [float(values["sigma"]), *levels[1:]] if levels else []


SPACINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "cosine": lambda x: math.sin(x * math.pi / 2),
    "sine": lambda x: 1 - math.cos(x * math.pi / 2),
}


def _extend_levels(levels: list[float], values: Values, slot: int) -> list[float]:
    start, end = float(values["start_at_sigma"]), float(values["end_at_sigma"])
    if int(values["steps"]) * len(levels) > LONGEST:
        raise UnknownLevels(f"there would be more than {LONGEST} levels")
    start = math.inf if start < 0 else start
    parts = [SPACINGS[str(values["spacing"])](x) for x in linspace(0, 1, int(values["steps"]) + 1)[1:-1]]
    found: list[float] = []
    for here, there in pairwise(levels):
        found.append(here)
        found += [part * (there - here) + here for part in parts] if end <= here <= start else []
    return found + levels[-1:]


FROM_SIGMAS: dict[str, Callable[[list[float], Values, int], list[float]]] = {
    "SplitSigmas": _split_levels,
    "SplitSigmasDenoise": _split_denoise,
    "FlipSigmas": _flip_levels,
    "SetFirstSigma": _set_first,
    "ExtendIntermediateSigmas": _extend_levels,
}
"""Nodes that change levels; the number is that of the output."""
