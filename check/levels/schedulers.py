"""ComfyUI's schedulers, from their formulas: the levels that a number of steps visits, with a final 0.

Source: ComfyUI 0.33.0, comfy/samplers.py and comfy/k_diffusion/sampling.py; Karras et al., arXiv 2206.00364, eq. 5;
beta schedule, arXiv 2407.12173; KL-optimal levels, arXiv 2404.14507 (Align Your Steps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .sampling import ModelSampling, to_float32

__all__ = ["SCHEDULERS", "UnknownLevels", "beta_levels", "exponential_levels", "karras_levels", "laplace_levels"]
__all__ += ["interpolate_loglinear", "linspace", "polyexponential_levels", "schedule_levels", "vp_levels"]

NEARLY_ZERO = 1e-5


class UnknownLevels(ValueError):
    """Levels that cannot be told from the file; the message says why."""


def schedule_levels(scheduler: str, steps: int, model: ModelSampling) -> list[float]:
    """Return the levels of a scheduler by its name in ComfyUI.

    Raises:
        UnknownLevels: There is no such scheduler in core, or its formula has no value here.
    """
    if scheduler not in SCHEDULERS:
        raise UnknownLevels(f"scheduler {scheduler!r} is not one of core's")
    return SCHEDULERS[scheduler](model, steps)


def linspace(start: float, end: float, count: int) -> list[float]:
    """Return ``count`` evenly spaced values, both ends included; a single value is the start."""
    return [start + (end - start) * i / (count - 1) for i in range(count)] if count > 1 else [start][:count]


def _space_simple(model: ModelSampling, steps: int) -> list[float]:
    table = model.table
    stride = len(table) / steps
    return [table[-(1 + int(i * stride))] for i in range(steps)] + [0.0]


def _space_ddim_uniform(model: ModelSampling, steps: int) -> list[float]:
    """Every stride-th entry from the second one up, so the first of ``steps`` levels is rarely the largest."""
    table = model.table
    ends_at_zero = math.isclose(table[1], 0, abs_tol=NEARLY_ZERO)
    stride = max(len(table) // (steps + ends_at_zero), 1)
    levels = table[1::stride]
    return levels[::-1] + ([] if ends_at_zero else [0.0])


def _space_normal(model: ModelSampling, steps: int) -> list[float]:
    start, end = _find_ends(model)
    ends_at_zero = math.isclose(model.sigma(end), 0, abs_tol=NEARLY_ZERO)
    timesteps = linspace(start, end, steps + ends_at_zero)
    return [model.sigma(t) for t in timesteps] + ([] if ends_at_zero else [0.0])


def _space_sgm_uniform(model: ModelSampling, steps: int) -> list[float]:
    return [model.sigma(t) for t in linspace(*_find_ends(model), steps + 1)[:-1]] + [0.0]


def _find_ends(model: ModelSampling) -> tuple[float, float]:
    return model.timestep(model.table[-1]), model.timestep(model.table[0])


def beta_levels(model: ModelSampling, steps: int, alpha: float = 0.6, beta: float = 0.6) -> list[float]:
    """Return the table's entries at the quantiles of a beta distribution; equal neighbours count once.

    Raises:
        UnknownLevels: The package scipy is not installed, or the distribution has no quantile here.
    """
    try:
        from scipy.special import betaincinv
    except ImportError:
        raise UnknownLevels("the beta scheduler needs scipy; install it with `pip install wan-lite[check]`") from None
    table = model.table
    levels: list[float] = []
    last = -1
    for i in range(steps):
        quantile = float(betaincinv(alpha, beta, 1 - i / steps))
        if math.isnan(quantile):
            raise UnknownLevels(f"a beta distribution with alpha {alpha:g} and beta {beta:g} has no quantiles")
        index = round(quantile * (len(table) - 1))
        if index != last:
            levels.append(table[index])
        last = index
    return [*levels, 0.0]


def _space_linear_quadratic(model: ModelSampling, steps: int, threshold: float = 0.025) -> list[float]:
    """Linear to 1 - threshold in the first half of the steps, then a parabola that ends at 0 (Mochi)."""
    largest = model.table[-1]
    if steps == 1:
        return [largest, 0.0]
    linear = steps // 2
    quadratic = steps - linear
    difference = linear - threshold * steps
    a = difference / (linear * quadratic**2)
    b = threshold / linear - 2 * difference / quadratic**2
    c = a * linear**2
    rising = [i * threshold / linear for i in range(linear)] + [a * i**2 + b * i + c for i in range(linear, steps)]
    return [(1 - value) * largest for value in [*rising, 1.0]]


def _space_kl_optimal(model: ModelSampling, steps: int) -> list[float]:
    if steps == 1:
        raise UnknownLevels("kl_optimal divides by zero at 1 step; its level is not a number")
    # as rounded as the host's: near the pole of the tangent the last digit of an angle shows
    low, high = to_float32(math.atan(model.table[0])), to_float32(math.atan(model.table[-1]))
    parts = [to_float32(i / (steps - 1)) for i in range(steps)]
    angles = [to_float32(to_float32(part * low) + to_float32((1 - part) * high)) for part in parts]
    return [to_float32(math.tan(angle)) for angle in angles] + [0.0]


def karras_levels(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> list[float]:
    """Return levels spaced evenly in their rho-th root."""
    if rho == 0:
        raise UnknownLevels("karras with rho 0 divides by zero")
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    # as rounded as the host's: the power magnifies the last digit of a root
    ramp = [to_float32(u) for u in linspace(0, 1, steps)]
    roots = [to_float32(high + to_float32(u * to_float32(low - high))) for u in ramp]
    return [to_float32(root**rho) for root in roots] + [0.0]


def exponential_levels(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    """Return levels spaced evenly in their logarithm."""
    return polyexponential_levels(steps, sigma_min, sigma_max, 1.0)


def polyexponential_levels(steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> list[float]:
    """Return levels spaced by a power of an even ramp in their logarithm."""
    low, high = _take_log(sigma_min), _take_log(sigma_max)
    return [math.exp(u**rho * (high - low) + low) for u in linspace(1, 0, steps)] + [0.0]


def vp_levels(steps: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 1e-3) -> list[float]:
    """Return levels of the continuous variance-preserving process, evenly in time."""
    times = linspace(1, eps_s, steps)
    return [math.sqrt(math.expm1(beta_d * t * t / 2 + beta_min * t)) for t in times] + [0.0]


def laplace_levels(steps: int, sigma_min: float, sigma_max: float, mu: float = 0.0, beta: float = 0.5) -> list[float]:
    """Return levels at quantiles of a Laplace distribution of log sigma; there is no final 0."""
    levels = []
    for x in linspace(0, 1, steps):
        side = (x < 0.5) - (x > 0.5)
        log_sigma = mu - beta * side * math.log(1 - 2 * abs(0.5 - x) + 1e-5)
        levels.append(min(max(math.exp(log_sigma), sigma_min), sigma_max))
    return levels


def _take_log(sigma: float) -> float:
    if sigma <= 0:
        raise UnknownLevels(f"the logarithm of sigma {sigma:g} is not a number")
    return math.log(sigma)


def _interpolate(formula: Callable[[int, float, float], list[float]]) -> Callable[[ModelSampling, int], list[float]]:
    """A scheduler that knows only the ends of the model's table."""
    return lambda model, steps: formula(steps, model.table[0], model.table[-1])


SCHEDULERS: dict[str, Callable[[ModelSampling, int], list[float]]] = {
    "simple": _space_simple,
    "sgm_uniform": _space_sgm_uniform,
    "karras": _interpolate(karras_levels),
    "exponential": _interpolate(exponential_levels),
    "ddim_uniform": _space_ddim_uniform,
    "beta": beta_levels,
    "normal": _space_normal,
    "linear_quadratic": _space_linear_quadratic,
    "kl_optimal": _space_kl_optimal,
}
"""Core's schedulers by name."""


def interpolate_loglinear(levels: Sequence[float], count: int) -> list[float]:
    """Return ``count`` levels between falling ones, by interpolation in their logarithm."""
    logs = [math.log(level) for level in levels]
    found = []
    for position in linspace(0, len(levels) - 1, count):
        low = min(int(position), len(levels) - 2)
        part = position - low
        found.append(math.exp((1 - part) * logs[low] + part * logs[low + 1]))
    return found
