"""Measure what one solver step costs besides the network: ours beside diffusers' UniPC, paired in one run.

Both do a whole run of 20 steps over a network that returns the same tensor at once, so what is timed is the reading
of the output, the corrector and the predictor. The two take turns; the figure is the median of the paired ratios.
Memory is counted at the operator level: the largest single allocation, and the most that is alive at a time.

    python -m wan_lite.benchmarks.samplers [--rounds 9] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..samplers import FlowUniPC, Prediction, flow_schedule, sample

SHAPES = ((1, 16, 1, 64, 64), (1, 16, 21, 90, 160))
STEPS, SHIFT = 20, 5.0
FIGURE = 0.5


def ours(x: Tensor, output: Tensor) -> Callable[[], Tensor]:
    """A run of FlowUniPC, ready to be timed."""
    schedule, solver = flow_schedule(STEPS, SHIFT), FlowUniPC()
    return lambda: sample(lambda x, t: output, x, schedule, solver, prediction=Prediction.VELOCITY)


def diffusers(x: Tensor, output: Tensor) -> Callable[[], Tensor]:
    """The same run by diffusers' UniPC, set up for flow as its Wan pipelines do."""
    from diffusers import UniPCMultistepScheduler

    settings = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": SHIFT}

    def run() -> Tensor:
        scheduler, latent = UniPCMultistepScheduler(num_train_timesteps=1000, **settings), x
        scheduler.set_timesteps(STEPS)
        started = time.perf_counter()
        for t in scheduler.timesteps:
            latent = scheduler.step(output, t, latent, return_dict=False)[0]
        run.seconds = time.perf_counter() - started  # its set-up is not a step
        return latent

    return run


def timed(run: Callable[[], Tensor]) -> float:
    """Milliseconds for one step."""
    started = time.perf_counter()
    with torch.no_grad():
        run()
    seconds = getattr(run, "seconds", None) or time.perf_counter() - started
    return 1000 * seconds / STEPS


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


def allocations(run: Callable[[], Tensor], latent: Tensor) -> tuple[float, float]:
    """Largest allocation and most alive at a time, in latents (the input and the network's output not counted)."""
    with torch.no_grad(), Allocations() as seen:
        run()
    return seen.largest / latent.nbytes, seen.peak / latent.nbytes


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    out, missed = sys.stdout, False
    out.write(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.rounds} paired rounds of {STEPS} steps\n"
    )
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        x, output = (torch.randn(shape, generator=generator) for _ in range(2))
        runs = [ours(x, output), diffusers(x, output)]
        difference = float((runs[0]() - runs[1]()).abs().max())
        times = [[timed(run) for run in runs] for _ in range(options.rounds)]
        ratio = statistics.median(mine / theirs for mine, theirs in times)
        mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        out.write(f"{shape}: ours {mine:.3f} ms, diffusers {theirs:.3f} ms a step; ratio {ratio:.2f} (<= {FIGURE})\n")
        for name, run in zip(("ours", "diffusers"), runs, strict=True):
            largest, peak = allocations(run, x)
            out.write(f"    {name}: largest allocation {largest:.2f} latents, most alive {peak:.2f} latents\n")
            missed |= name == "ours" and largest > 1
        out.write(f"    largest difference of the two results {difference:.1e} (other levels, same method)\n")
        missed |= ratio > FIGURE
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
