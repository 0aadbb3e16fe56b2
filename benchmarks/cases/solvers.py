"""A solver's step without the network: 20 steps over one that costs nothing, and how far the results are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...samplers import DDIM, FlowUniPC, Network, Prediction, ddim_schedule, flow_schedule, sample
from ..allocations import measure_allocations
from ..bench import Bench, Case, make_noise, measure_distance
from ..peers import DIFFUSERS, OFFICIAL, import_file
from ..records import OURS, Entry, Figure, Outcome, Row
from ..timing import Call

__all__ = ["CASES", "call_diffusers", "call_ours"]

SECTION = "Solver, 20 steps without the network"
SHAPES = {"image": (1, 16, 1, 64, 64), "video": (1, 16, 21, 90, 160)}
QUICK_SHAPE = (1, 16, 1, 4, 4)
STEPS, SHIFT = 20, 5.0
MOST_TIME = 0.5
"""Of diffusers' time."""


def call_ours(x: Tensor, network: Network) -> Call[Tensor]:
    """Return a run of FlowUniPC."""
    schedule, solver = flow_schedule(STEPS, shift=SHIFT), FlowUniPC()
    return Call(lambda: sample(network, x, schedule, solver, prediction=Prediction.VELOCITY))


def call_diffusers(x: Tensor, network: Network) -> Call[Tensor]:
    """Return the same run by diffusers' UniPC, set up for flow as its Wan pipelines do; its set-up is not a step."""
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        num_train_timesteps=1000, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT
    )
    return Call(make_loop(scheduler, x, network), prepare=lambda: scheduler.set_timesteps(STEPS))


def call_official(x: Tensor, network: Network, bench: Bench) -> Call[Tensor]:
    """Return the same run by Wan's own scheduler, as its ``text2video`` uses it."""
    assert bench.peers.official is not None
    module = import_file(bench.peers.official / "wan/utils/fm_solvers_unipc.py", "official_unipc")
    scheduler = module.FlowUniPCMultistepScheduler(num_train_timesteps=1000, shift=1, use_dynamic_shifting=False)
    return Call(
        make_loop(scheduler, x, network), prepare=lambda: scheduler.set_timesteps(STEPS, device="cpu", shift=SHIFT)
    )


def make_loop(scheduler: Any, x: Tensor, network: Network) -> Callable[[], Tensor]:
    """Return the loop of a pipeline around a scheduler of diffusers' kind."""

    def run() -> Tensor:
        latent = x
        for t in scheduler.timesteps:
            latent = scheduler.step(network(latent, t.reshape(1)), t, latent, return_dict=False)[0]
        return latent

    return run


def list_calls(bench: Bench, x: Tensor, network: Network) -> dict[str, Call[Tensor]]:
    """Return the same run for every implementation that is there."""
    calls = {OURS: call_ours(x, network)}
    if bench.peers.has_diffusers:
        calls[DIFFUSERS] = call_diffusers(x, network)
    if bench.peers.official:
        calls[OFFICIAL] = call_official(x, network, bench)
    return calls


def measure_steps(bench: Bench, name: str) -> Outcome:
    """Time 20 steps, and compare the results of a network that depends on its latent and its timestep."""
    shape = QUICK_SHAPE if bench.is_quick else SHAPES[name]
    x, output = make_noise(*shape), make_noise(*shape, seed=2)
    row = bench.compare(
        f"latent of an {name}" if name == "image" else f"latent of a {name}",
        list_calls(bench, x, lambda latent, t: output),
    )
    results = run_all(list_calls(bench, x, lambda latent, t: torch.tanh(latent) * (0.5 + t.float() / 1000) - output))
    reference = OFFICIAL if OFFICIAL in results else OURS
    entries = tuple(
        Entry(e.who, e.wall, e.cpu, e.ratio, e.cpu_ratio, measure_distance(results[e.who], results[reference]))
        for e in row.entries
    )
    return bench.conclude(rows=(replace(row, entries=entries, reference=reference),), figures=judge(row, x, output))


def run_all(calls: dict[str, Call[Tensor]]) -> dict[str, Tensor]:
    """Return what each gives."""
    results = {}
    for name, call in calls.items():
        if call.prepare is not None:
            call.prepare()
        with torch.inference_mode():
            results[name] = call.run()
    return results


def judge(row: Row, x: Tensor, output: Tensor) -> tuple[Figure, ...]:
    """Return the figures that have targets: time beside diffusers, and memory in latents."""
    found = []
    for entry in row.entries:
        if entry.who == DIFFUSERS and entry.times_slower is not None:
            found.append(Figure(f"{row.what}, {OURS} / {DIFFUSERS}", 1 / entry.times_slower, most=MOST_TIME))
    largest, peak = measure_allocations(call_ours(x, lambda latent, t: output), x)
    found.append(Figure(f"{row.what}, largest allocation", largest, "latents", most=1.0))
    found.append(Figure(f"{row.what}, most alive at once", peak, "latents", most=8.5))
    return tuple(found)


def measure_ddim(bench: Bench) -> Outcome:
    """Time our DDIM beside diffusers' on an image's latent; the two have other schedules, so results differ."""
    shape = QUICK_SHAPE if bench.is_quick else SHAPES["image"]
    x, output = make_noise(*shape), make_noise(*shape, seed=2)
    schedule, solver = ddim_schedule(STEPS, shift=1.0), DDIM()
    calls = {OURS: Call(lambda: sample(lambda *_: output, x, schedule, solver, prediction=Prediction.EPSILON))}
    if bench.peers.has_diffusers:
        from diffusers import DDIMScheduler

        theirs = DDIMScheduler(num_train_timesteps=1000, clip_sample=False)
        calls[DIFFUSERS] = Call(make_loop(theirs, x, lambda *_: output), lambda: theirs.set_timesteps(STEPS))
    return bench.conclude(rows=(bench.compare("DDIM, latent of an image", calls),))


CASES = [
    *(Case(f"solver-{name}", SECTION, partial(measure_steps, name=name)) for name in SHAPES),
    Case("solver-ddim", SECTION, measure_ddim),
]
