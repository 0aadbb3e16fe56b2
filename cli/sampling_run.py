"""What ``sample`` does between its arguments and its files: which runs there are, and the images of each."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..models.student import Student
    from ..models.wan_vae.vae import WanVAE
    from ..pipeline.generation import Variation
    from ..samplers.contract import SamplingContract
    from ..samplers.solver import OnStep
    from .prompts import Job

__all__ = ["MAX_IMAGES", "Run", "Sampling", "parse_list", "parse_seeds", "plan_runs"]

MAX_IMAGES = 10_000


@dataclass(frozen=True)
class Run:
    """One call of the sampling loop: a prompt, a contract, and consecutive seeds."""

    job: Job
    contract: SamplingContract
    seeds: range


@dataclass(frozen=True)
class Sampling:
    """The networks, and what every run has in common.

    Attributes:
        student: Samples latents.
        vae: Decodes them.
        variation: What the runs do besides their contracts.
        device: Where a network goes for its work and only then; None leaves it where it is.
    """

    student: Student
    vae: WanVAE
    variation: Variation
    device: torch.device | None

    def sample(self, run: Run, on_step: OnStep) -> Iterator[Tensor]:
        """Yield the images (H, W, 3) of a run; where memory is short, from smaller batches."""
        from ..pipeline.memory import run_batches

        batches = run_batches(lambda first, count: self._sample_batch(run, first, count, on_step), len(run.seeds))
        for images in batches:
            yield from images

    def _sample_batch(self, run: Run, first: int, count: int, on_step: OnStep) -> Tensor:
        from ..pipeline.generation import decode_images, sample_latents

        with _place(self.student, self.device):
            latent = sample_latents(
                self.student,
                run.job.prompts,
                contract=run.contract,
                variation=self.variation,
                seed=run.seeds[first],
                batch=count,
                on_step=on_step,
            )
        with _place(self.vae, self.device):
            return decode_images(self.student, self.vae, latent)


@contextmanager
def _place(owner: Student | WanVAE, device: torch.device | None) -> Iterator[None]:
    """Keep a network on a device for the time of a block."""
    if device is None:
        yield
        return
    owner.to(device)
    try:
        yield
    finally:
        owner.to("cpu")


def plan_runs(
    jobs: list[Job], contracts: list[SamplingContract], seeds: list[int], options: argparse.Namespace
) -> list[Run]:
    """Return the runs of a sweep: for each prompt and contract the seeds, in batches.

    Raises:
        ValueError: They would make too many images.
    """
    runs = [
        Run(job, contract, batch)
        for job in jobs
        for contract in contracts
        for batch in _split(_shift(seeds, job, options), options.batch)
    ]
    images = sum(len(run.seeds) for run in runs)
    if images > MAX_IMAGES:
        raise ValueError(f"{images} images are asked for; at most {MAX_IMAGES} are made at once.")
    return runs


def _shift(seeds: list[int], job: Job, options: argparse.Namespace) -> list[int]:
    """Let a prompt's own seed take the place of the first one."""
    moved = job.seed is not None and options.seeds is None
    return [job.seed + i for i in range(len(seeds))] if moved else seeds  # type: ignore[operator]


def _split(seeds: list[int], batch: int) -> Iterator[range]:
    """Cut seeds into ranges of consecutive ones, of no more than a batch each."""
    first = 0
    for i in range(1, len(seeds) + 1):
        if i == len(seeds) or seeds[i] != seeds[i - 1] + 1 or i - first == batch:
            yield range(seeds[first], seeds[i - 1] + 1)
            first = i


def parse_seeds(options: argparse.Namespace) -> list[int]:
    """Return the seeds of each prompt: those of ``--seeds``, or as many as ``--batch`` from ``--seed`` on."""
    if not 1 <= options.batch <= MAX_IMAGES:
        raise ValueError(f"batch is {options.batch}; allowed are 1 to {MAX_IMAGES}.")
    if options.seeds is not None:
        return parse_list("--seeds", options.seeds, "0-19,42")
    return [options.seed + i for i in range(options.batch)]


def parse_list(option: str, text: str, example: str) -> list[int]:
    """Read whole numbers and ranges of them, such as ``0-19,42``; each is taken once, in order.

    Args:
        option: Where the text comes from, for the message.
        text: What to read.
        example: For the message.

    Raises:
        ValueError: It holds something else, or too long a range.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < MAX_IMAGES:
            most = f"ranges of at most {MAX_IMAGES} of them"
            raise ValueError(f"{option} is {text!r}; give whole numbers and {most}, such as {example}.")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)
