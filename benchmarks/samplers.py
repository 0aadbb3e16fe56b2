"""Measure what one solver step costs besides the network: ours beside diffusers' UniPC, paired in one run.

Both do a whole run of 20 steps over a network that returns the same tensor at once, so what is timed is the reading
of the output, the corrector and the predictor. The two take turns; the figure is the median of the paired ratios.
Memory is counted at the operator level: the largest single allocation, and the most that is alive at a time.

    python -m wan_lite.benchmarks.samplers [--rounds 9] [--threads 1]
"""

from __future__ import annotations

import argparse
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..samplers import FlowUniPC, Prediction, flow_schedule, sample
from .timing import Call, take_turns

SHAPES = ((1, 16, 1, 64, 64), (1, 16, 21, 90, 160))
STEPS, SHIFT = 20, 5.0
FIGURE = 0.5


def call_ours(x: Tensor, output: Tensor) -> Call[Tensor]:
    """Return a run of FlowUniPC."""
    schedule, solver = flow_schedule(STEPS, shift=SHIFT), FlowUniPC()
    return Call(lambda: sample(lambda x, t: output, x, schedule, solver, prediction=Prediction.VELOCITY))


def call_diffusers(x: Tensor, output: Tensor) -> Call[Tensor]:
    """Return the same run by diffusers' UniPC, set up for flow as its Wan pipelines do; its set-up is not a step."""
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        num_train_timesteps=1000, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT
    )

    def run() -> Tensor:
        latent = x
        for t in scheduler.timesteps:
            latent = scheduler.step(output, t, latent, return_dict=False)[0]
        return latent

    return Call(run, prepare=lambda: scheduler.set_timesteps(STEPS))


class Allocations(TorchDispatchMode):
    """Counts the storages that operators make: the largest, and the most bytes alive at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.alive = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for given in tree_leaves((args, kwargs or {})):
            if isinstance(given, Tensor):
                self.known.add(given.untyped_storage()._cdata)
        result = function(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made.untyped_storage()._cdata not in self.known:
                self._add(made.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), storage._cdata
        self.known.add(key)
        self.largest, self.alive = max(self.largest, size), self.alive + size
        self.peak = max(self.peak, self.alive)

        def gone() -> None:
            self.alive -= size
            self.known.discard(key)

        weakref.finalize(storage, gone)


def measure_allocations(call: Call[Tensor], latent: Tensor) -> tuple[float, float]:
    """Return the largest allocation and the most alive at a time, in latents, without input and network's output."""
    if call.prepare is not None:
        call.prepare()
    with torch.no_grad(), Allocations() as seen:
        call.run()
    return seen.largest / latent.nbytes, seen.peak / latent.nbytes


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    missed = False
    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.rounds} paired rounds of {STEPS} steps")
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        x, output = (torch.randn(shape, generator=generator) for _ in range(2))
        calls = {"ours": call_ours(x, output), "diffusers": call_diffusers(x, output)}
        found = take_turns(calls, options.rounds, warm_up=1)
        ratio = found.ratio("ours", to="diffusers").wall
        mine, theirs = (1000 * found.median(name).wall / STEPS for name in calls)
        print(f"{shape}: ours {mine:.3f} ms, diffusers {theirs:.3f} ms a step; ratio {ratio:.2f} (<= {FIGURE})")
        for name, call in calls.items():
            largest, peak = measure_allocations(call, x)
            print(f"    {name}: largest allocation {largest:.2f} latents, most alive {peak:.2f} latents")
            missed |= name == "ours" and largest > 1
        difference = float((found.results["ours"] - found.results["diffusers"]).abs().max())
        print(f"    largest difference of the two results {difference:.1e} (other sigmas, same method)")
        missed |= ratio > FIGURE
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
