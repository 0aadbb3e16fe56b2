"""What every training here shares: the learning rate's schedule, an average of the weights, the log of losses."""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .. import MODELS

__all__ = ["EMA", "Log", "make_optimizer", "make_parser", "schedule_steps", "take_step"]


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every training has: ``--models`` and ``--seed``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--models", type=Path, default=MODELS, help="models folder to read and write in")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def make_optimizer(module: nn.Module, rate: float, decay: float = 1e-2) -> torch.optim.AdamW:
    """Return AdamW with the weight decay on matrices and kernels only."""
    matrices = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))


def schedule_steps(count: int, optimizer: torch.optim.Optimizer, *, warm_up: int = 100) -> Iterator[int]:
    """Count steps, setting the rate before each: a linear warm-up, then half a cosine down to 2 % of the peak."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    for i in range(count):
        factor = min(1.0, (i + 1) / warm_up) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * i / count)))
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        yield i


def take_step(loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Take one optimisation step with gradients clipped to length 1, and return the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


class EMA:
    """An exponential moving average of a module's weights, short at first and of ``decay`` later."""

    def __init__(self, module: nn.Module, decay: float = 0.998) -> None:
        self.module, self.decay, self.count = module, decay, 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of now."""
        self.count += 1
        keep = min(self.decay, self.count / (self.count + 20))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)

    def write_back(self) -> None:
        """Put the average into the module, for good."""
        self.module.load_state_dict(self.state)


class Log:
    """A CSV of losses with wall and CPU seconds, and a progress bar where standard error is a terminal."""

    def __init__(self, name: str, count: int, models: Path, every: int = 50) -> None:
        """Begin a log.

        Args:
            name: The file is ``train/logs/<name>.csv`` beside the models folder.
            count: Steps in all.
            models: That folder.
            every: Steps between two rows.
        """
        logs = models.parent / "train" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.path, self.count, self.every = logs / f"{name}.csv", count, every
        self.started, self.cpu = time.monotonic(), time.process_time()
        self.sums: dict[str, list[float]] = {}
        self.rows: list[dict[str, float]] = []
        self.bar = tqdm(total=count, desc=name, unit="step", disable=None)

    def add(self, index: int, **values: float) -> None:
        """Take in the values of step ``index`` (from 0); after every row's steps write their means."""
        for key, value in values.items():
            self.sums.setdefault(key, []).append(value)
        self.bar.update()
        if (index + 1) % self.every and index + 1 != self.count:
            return
        means = {key: round(sum(v) / len(v), 5) for key, v in self.sums.items()}
        self.sums.clear()
        seconds, cpu = time.monotonic() - self.started, time.process_time() - self.cpu
        self.rows.append({"step": index + 1, **means, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)})
        self._write()
        self.bar.set_postfix(means)
        if index + 1 == self.count:
            self.bar.close()

    def _write(self) -> None:
        fields = list(dict.fromkeys(key for row in self.rows for key in row))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows(self.rows)
