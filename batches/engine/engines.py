"""Engines: what gives groups to workers. In this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..manifest import FAILED, Record
from .groups import Group
from .worker import Worker

__all__ = ["Workplace", "run_here", "run_in_processes", "run_on_ray"]

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""How many workers may die with a group before it is given up."""
AHEAD = 2  # groups that wait at each worker


@dataclass(frozen=True)
class Workplace:
    """Where groups run.

    Attributes:
        folder: Of the results.
        devices: One for each worker.
        threads: Of each worker on the CPU.
        address: Of a Ray cluster; None starts Ray on this machine.
    """

    folder: Path
    devices: Sequence[str] = ("cpu",)
    threads: int = 1
    address: str | None = None


def run_here(groups: Iterator[Group], place: Workplace) -> Iterator[list[Record]]:
    """Run groups one after another in this process."""
    import torch

    threads, worker = torch.get_num_threads(), Worker(place.folder, place.devices[0], place.threads)
    try:
        yield from map(worker.run, groups)
    finally:
        torch.set_num_threads(threads)


def run_in_processes(groups: Iterator[Group], place: Workplace) -> Iterator[list[Record]]:
    """Run groups in a process for each device; what a process that dies was doing is done again."""
    pools = [_Pool(place, device) for device in place.devices]
    deaths: dict[tuple[int, int], int] = {}
    again: list[Group] = []
    try:
        while True:
            for pool in pools:
                new = islice(groups, max(0, AHEAD - len(pool.running) - len(again)))
                waiting = [again.pop() for _ in range(min(len(again), AHEAD - len(pool.running)))]
                for group in (*waiting, *new):
                    pool.submit(group)
            futures = [future for pool in pools for future in pool.running]
            if not futures:
                return
            wait(futures, return_when=FIRST_COMPLETED)
            for pool in pools:
                results, lost = pool.collect()
                yield from results
                for group in lost:
                    deaths[group.window, group.number] = died = deaths.get((group.window, group.number), 0) + 1
                    if died < MOST_DEATHS:
                        again.append(group)
                    else:
                        yield _give_up(group)
    finally:
        for pool in pools:
            pool.stop()


def run_on_ray(groups: Iterator[Group], place: Workplace) -> Iterator[list[Record]]:
    """Run groups by Ray Data, on actors that load a model once; Ray does again what a dead one was doing.

    Raises:
        ValueError: Ray is not installed.
    """
    try:
        import pyarrow
        import ray
    except ImportError as error:
        raise ValueError("--engine ray needs Ray; install it with pip install 'wan-lite[ray]'.") from error
    blocks = [pyarrow.table({"group": [pickle.dumps(group)]}) for group in groups]
    if not blocks:
        return
    # one more than the workers need: Ray Data has tasks of its own, which would wait for ever
    ray.init(
        address=place.address, num_cpus=None if place.address else len(place.devices) + 1, logging_level=logging.ERROR
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        found = ray.data.from_arrow(blocks).map_batches(
            type(
                "BoundRayWorker", (_RayWorker,), {"place": place}
            ),  # arguments could be lost with the node that has them
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=len(place.devices)),
            num_cpus=1,
            num_gpus=0 if place.devices[0] == "cpu" else 1,
        )
        for row in found.iter_rows():
            yield pickle.loads(row["records"])
    finally:
        ray.shutdown()


class _RayWorker:
    """A worker as an actor of Ray Data."""

    place: Workplace

    def __init__(self) -> None:
        device = "cpu" if self.place.devices[0] == "cpu" else "cuda"  # Ray shows each actor its own card only
        self.worker = Worker(self.place.folder, device, self.place.threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        packed = [pickle.dumps(self.worker.run(pickle.loads(group))) for group in batch["group"]]
        return {"records": np.array(packed, dtype=object)}


class _Pool:
    """One worker process, started anew where it dies."""

    def __init__(self, place: Workplace, device: str) -> None:
        self.place, self.device = place, device
        self.running: dict[Future[list[Record]], Group] = {}
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, group: Group) -> None:
        if self._executor is None:
            arguments = (self.place.folder, self.device, self.place.threads)
            self._executor = ProcessPoolExecutor(1, get_context("spawn"), _start_worker, arguments)
        try:
            future = self._executor.submit(_run_group, group)
        except BrokenProcessPool as error:  # it has died since; collect finds it
            future = Future()
            future.set_exception(error)
        self.running[future] = group

    def collect(self) -> tuple[list[list[Record]], list[Group]]:
        """Return what is finished, and the groups of a process that died."""
        results, lost = [], []
        for future in [future for future in self.running if future.done()]:
            group = self.running.pop(future)
            try:
                results.append(future.result())
            except BrokenProcessPool:
                lost.append(group)
        if lost:
            log.warning("a worker on %s died; its rows are run again", self.device)
            lost += self.running.values()
            self.running.clear()
            self.stop()
        return results, lost

    def stop(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


_worker: Worker | None = None


def _start_worker(folder: Path, device: str, threads: int) -> None:
    global _worker
    _worker = Worker(folder, device, threads)


def _run_group(group: Group) -> list[Record]:
    assert _worker is not None
    return _worker.run(group)


def _give_up(group: Group) -> list[Record]:
    error = f"the worker died {MOST_DEATHS} times while it ran this row's batch."
    return [Record(row.index, key, FAILED, (), dict(row.values), error) for row, _, key in group.rows]
