"""The cases in which levels are compared, and what the host makes of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import comfy.model_sampling
import comfy.samplers
import nodes as host_nodes
import torch

STEPS = (4, 9, 20)
SHIFTS = (1.0, 5.0, 12.0)
SETTINGS = [{"shift": shift, "multiplier": multiplier} for shift in SHIFTS for multiplier in (1000.0, 1.0)]
MODELS: list[tuple[str, dict[str, float]]] = [
    *(("DiscreteFlow", settings) for settings in SETTINGS),
    *(("FluxFlow", {"mu": mu}) for mu in (0.5, 1.15, 2.02)),
    ("DiscreteEpsilon", {}),
    ("ContinuousEDM", {"sigma_min": 0.002, "sigma_max": 700.0}),
    ("ContinuousV", {"sigma_min": 0.03, "sigma_max": 500.0}),
]
FLOW: Any = ("DiscreteFlow", {"shift": 5.0, "multiplier": 1000.0})
EPSILON: Any = ("DiscreteEpsilon", {})
IDEOGRAM = (
    {"width": 1024, "height": 1024, "mu": 0.0, "std": 1.75},
    {"width": 512, "height": 768, "mu": -1.5, "std": 0.4},
    {"width": 2048, "height": 768, "mu": 3.0, "std": 5.0},
)
SIGMAS = [14.0, 9.0, 6.5, 3.0, 1.0, 0.25, 0.0]
"""Exact in float32."""


def schedulers() -> Iterator[tuple[str, str, dict[str, float], int]]:
    for name in comfy.samplers.SCHEDULER_NAMES:
        for kind, settings in MODELS:
            for steps in (*STEPS, *((1,) if name != "kl_optimal" else ())):
                yield name, kind, settings, steps


def nodes_of_steps(steps: int) -> Iterator[tuple[str, dict[str, Any], str, dict[str, float]]]:
    flow, epsilon = FLOW, EPSILON
    for denoise in (1.0, 0.6, 0.0):
        for model in (flow, epsilon):
            yield "BasicScheduler", {"scheduler": "simple", "steps": steps, "denoise": denoise}, *model
        for kind in ("SD1", "SDXL", "SVD"):
            yield "AlignYourStepsScheduler", {"model_type": kind, "steps": steps, "denoise": denoise}, *flow
        for kind in ("FLUX", "Wan", "Chroma"):
            yield "OptimalStepsScheduler", {"model_type": kind, "steps": steps, "denoise": denoise}, *flow
    ends = {"steps": steps, "sigma_max": 14.6, "sigma_min": 0.03}
    yield "KarrasScheduler", ends | {"rho": 7.0}, *flow
    yield "ExponentialScheduler", ends, *flow
    yield "PolyexponentialScheduler", ends | {"rho": 1.3}, *flow
    yield "LaplaceScheduler", ends | {"mu": 0.1, "beta": 0.5}, *flow
    yield "VPScheduler", {"steps": steps, "beta_d": 19.9, "beta_min": 0.1, "eps_s": 0.001}, *flow
    yield "BetaSamplingScheduler", {"steps": steps, "alpha": 0.5, "beta": 0.7}, *flow
    yield "Flux2Scheduler", {"steps": steps, "width": 1024, "height": 768}, *flow
    yield "Flux2Scheduler", {"steps": steps, "width": 2048, "height": 1024}, *flow
    ltxv = {"steps": steps, "max_shift": 2.05, "base_shift": 0.95, "terminal": 0.1}
    yield "LTXVScheduler", ltxv | {"stretch": True}, *flow
    yield "LTXVScheduler", ltxv | {"stretch": False}, *flow
    for values in IDEOGRAM:
        yield "Ideogram4Scheduler", {"steps": steps, **values}, *flow


def nodes() -> Iterator[tuple[str, dict[str, Any], str, dict[str, float]]]:
    flow, epsilon = FLOW, EPSILON
    for steps in STEPS:
        yield from nodes_of_steps(steps)
    for denoise in (1.0, 0.35):
        yield "SDTurboScheduler", {"steps": 3, "denoise": denoise}, *epsilon
    yield "ManualSigmas", {"sigmas": "1, .75,0.5 0.25 -1.5 x 0"}, *flow
    for step in (0, 2, 6, 9):
        yield "SplitSigmas", {"step": step}, *flow
    for denoise in (1.0, 0.5, 0.2, 0.0):
        yield "SplitSigmasDenoise", {"denoise": denoise}, *flow
    yield "FlipSigmas", {}, *flow
    yield "SetFirstSigma", {"sigma": 136.0}, *flow
    for spacing in ("linear", "cosine", "sine"):
        extend = {"steps": 3, "start_at_sigma": -1.0, "end_at_sigma": 2.0, "spacing": spacing}
        yield "ExtendIntermediateSigmas", extend, *flow


def mine(submodule: Callable[[str], ModuleType], kind: str, settings: dict[str, float]) -> Any:
    return getattr(submodule("check.levels.sampling"), kind)(**settings)


def host_sampling(kind: str, settings: dict[str, float]) -> Any:
    """The host's own object for the same."""
    names = {"DiscreteFlow": "ModelSamplingDiscreteFlow", "FluxFlow": "ModelSamplingFlux"}
    names |= {"DiscreteEpsilon": "ModelSamplingDiscrete"}
    sampling = getattr(comfy.model_sampling, names.get(kind, f"ModelSampling{kind}"))()
    if kind == "FluxFlow":
        sampling.set_parameters(shift=settings["mu"])
    elif kind in ("ContinuousEDM", "ContinuousV"):
        sampling.set_parameters(settings["sigma_min"], settings["sigma_max"], 1.0)
    elif settings:
        sampling.set_parameters(**settings)
    return sampling


def host_schedule(name: str, kind: str, settings: dict[str, float], steps: int) -> torch.Tensor:
    return comfy.samplers.calculate_sigmas(host_sampling(kind, settings), name, steps)


class _Model:
    """What scheduler nodes ask of a MODEL."""

    def __init__(self, sampling: Any) -> None:
        self.sampling = sampling

    def get_model_object(self, name: str) -> Any:
        assert name == "model_sampling"
        return self.sampling


def run_host_node(name: str, values: dict[str, Any], kind: str, settings: dict[str, float]) -> list[torch.Tensor]:
    """The SIGMAS that a node of the host puts out."""
    node = host_nodes.NODE_CLASS_MAPPINGS[name]
    inputs = node.INPUT_TYPES()["required"]
    given = dict(values)
    if "model" in inputs:
        given["model"] = _Model(host_sampling(kind, settings))
    if "sigmas" in inputs and "sigmas" not in values:
        given["sigmas"] = torch.tensor(SIGMAS)
    return list(node.execute(**given).result)
