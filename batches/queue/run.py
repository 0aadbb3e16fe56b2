"""Rows over servers: each goes to whichever is free, and none is lost with a server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from ...check.graph.node_table import NodeType
from ...printable import make_file_name
from ..manifest import DONE, FAILED, Manifest, Record, RunSummary, save_file
from ..rows import Row, RowFile, make_key
from .binding import Binding, Prompt, bind, fill, load_prompt
from .server import Output, RefusedError, Server, ServerError, ServerLostError

__all__ = ["QueueError", "QueuePlan", "run_queue"]

log = logging.getLogger(__name__)

MOST_LOSSES = 3
"""How many servers may be lost with a row before it is given up."""
OnRow = Callable[[Row, str], None]
OnRowProgress = Callable[[Row, float], None]
PAUSE = 2.0  # seconds between two calls to a server that is gone


class QueueError(ConnectionError):
    """No server is left to run what remains."""


@dataclass(frozen=True)
class QueuePlan:
    """What to run.

    Attributes:
        workflow: Its file.
        settings: ``NODE.INPUT=VALUE`` texts.
        rows: One prompt each.
        folder: Where results and manifest go.
        servers: Addresses.
        depth: Prompts that each server has at a time, so that it need not wait for the next one.
        patience: Seconds to wait for any server to come back.
        retry: Whether rows that failed before are run again.
    """

    workflow: Path
    settings: Sequence[str]
    rows: RowFile
    folder: Path
    servers: Sequence[str]
    depth: int = 2
    patience: float = 300.0
    retry: bool = False


@dataclass
class _State:
    """What the workers of all servers share."""

    plan: QueuePlan
    prompt: Prompt
    bindings: list[Binding]
    manifest: Manifest
    rows: Iterator[tuple[Row, str]]
    on_row: OnRow
    on_progress: OnRowProgress
    summary: RunSummary = field(default_factory=RunSummary)
    again: deque[tuple[Row, str]] = field(default_factory=deque)
    losses: dict[int, int] = field(default_factory=dict)
    running: int = 0
    is_exhausted: bool = False
    last_answer: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether no row is left, and none can come back from a server."""
        return self.is_exhausted and not self.again and not self.running

    def take(self) -> tuple[Row, str] | None:
        """Return the next row, or None where none is left at this moment."""
        if self.again:
            return self.again.popleft()
        item = next(self.rows, None)
        self.is_exhausted = item is None
        return item


def run_queue(
    plan: QueuePlan, on_row: OnRow = lambda *_: None, on_progress: OnRowProgress = lambda *_: None
) -> RunSummary:
    """Run every row that its manifest does not yet know, and write results and manifest.

    Args:
        plan: What to run, and where.
        on_row: Called as ``on_row(row, status)`` after each row.
        on_progress: Called as ``on_progress(row, share)`` while a row runs, with the share of its present node's work.

    Raises:
        BindingError, RowsError, ManifestError, ServerError: Something is wrong that can be known before the work.
        QueueError: All servers were gone for longer than the plan's patience; what is done is kept.
    """
    return asyncio.run(_run(plan, on_row, on_progress))


async def _run(plan: QueuePlan, on_row: OnRow, on_progress: OnRowProgress) -> RunSummary:
    async with aiohttp.ClientSession() as http:
        servers = [Server(url, http) for url in plan.servers]
        types = await _check_servers(servers, {node["class_type"] for node in load_prompt(plan.workflow).values()})
        prompt = load_prompt(plan.workflow, types)
        bindings = bind(prompt, plan.settings, plan.rows.columns, types)
        for row in plan.rows:  # bad values are said before the work, not in the middle of it
            fill(prompt, bindings, row)
        with Manifest(plan.folder, plan.rows.count) as manifest:
            state = _State(plan, prompt, bindings, manifest, iter(()), on_row, on_progress)
            state.rows = _list_rows(state)
            workers = [asyncio.create_task(_work(state, server)) for server in servers for _ in range(plan.depth)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            return state.summary


async def _check_servers(servers: Sequence[Server], classes: set[str]) -> dict[str, NodeType]:
    """Return what the servers say of the classes; a server may be away, but not all, and none may be a wrong one."""
    answers = await asyncio.gather(*(server.check(classes) for server in servers), return_exceptions=True)
    types: dict[str, NodeType] = {}
    lost = []
    for server, answer in zip(servers, answers, strict=True):
        if isinstance(answer, ServerLostError):
            lost.append(server.url)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            types = answer
    if len(lost) == len(servers):
        raise ServerError(f"{', '.join(lost)}: nothing answers; start ComfyUI there, or give another --server.")
    for url in lost:
        log.warning("%s does not answer; it is asked again while the others work", url)
    return types


def _list_rows(state: _State) -> Iterator[tuple[Row, str]]:
    """Yield (row, key) of what is still to be done."""
    workflow = make_key(state.prompt, list(state.plan.settings))
    for row in state.plan.rows:
        key = make_key(workflow, row.values)
        if state.manifest.is_settled(row.index, key, retry=state.plan.retry):
            state.summary.skipped += 1
        else:
            yield row, key


async def _work(state: _State, server: Server) -> None:
    """Give a server one row after another, until none is left and none can come back from another server."""
    while not state.is_over:
        item = state.take()
        if item is None:
            await asyncio.sleep(0.05)
        elif not await _try_row(state, server, item):
            await _wait_for(state, server)


async def _try_row(state: _State, server: Server, item: tuple[Row, str]) -> bool:
    """Run a row; return whether the server was there to the end."""
    state.running += 1
    try:
        await _run_row(state, server, *item)
    except ServerLostError as error:
        log.warning("%s is gone (%s); row %d is run again", server.url, error, item[0].index)
        _put_back(state, item, error)
        return False
    finally:
        state.running -= 1
    return True


async def _run_row(state: _State, server: Server, row: Row, key: str) -> None:
    started = time.monotonic()
    about: dict[str, object] = {"server": server.url}
    try:
        prompt = fill(state.prompt, state.bindings, row)
        about["prompt_id"], outputs = await server.run(prompt, lambda share: state.on_progress(row, share))
        files, status, error = tuple(_save(state.plan.folder, row, outputs)), DONE, ""
    except RefusedError as refused:
        files, status, error = (), FAILED, str(refused)
    state.last_answer = time.monotonic()
    about["seconds"] = round(time.monotonic() - started, 3)
    _finish(state, Record(row.index, key, status, files, dict(row.values), error, about), row)


def _save(folder: Path, row: Row, outputs: Sequence[Output]) -> Iterator[dict[str, str]]:
    for number, output in enumerate(outputs):
        suffix = re.sub(r"[^.a-z0-9]", "", Path(output.name).suffix.lower())
        yield save_file(folder, f"{make_file_name(row.name)}_{number}{suffix}", output.content)


def _finish(state: _State, record: Record, row: Row) -> None:
    state.manifest.add(record)
    state.summary.note(record)
    state.on_row(row, record.status)


def _put_back(state: _State, item: tuple[Row, str], reason: ServerLostError) -> None:
    row, key = item
    state.losses[row.index] = losses = state.losses.get(row.index, 0) + reason.is_running
    if losses < MOST_LOSSES:
        state.again.append(item)
        return
    error = f"the server was lost {MOST_LOSSES} times while it ran this row ({reason})."
    _finish(state, Record(row.index, key, FAILED, (), dict(row.values), error), row)


async def _wait_for(state: _State, server: Server) -> None:
    """Wait until the server answers again.

    Raises:
        QueueError: No server has answered for too long.
    """
    state.last_answer = time.monotonic()  # it was there until now
    while not state.is_over:
        await asyncio.sleep(PAUSE)
        with contextlib.suppress(ServerLostError, ServerError):
            await server.check({node["class_type"] for node in state.prompt.values()})
            state.last_answer = time.monotonic()
            return
        if state.running:  # another server is at work
            state.last_answer = time.monotonic()
        if time.monotonic() - state.last_answer > state.plan.patience:
            raise QueueError(
                f"no server has answered for {state.plan.patience:.0f} s; what is done is kept in {state.plan.folder}: "
                "start a server and run the same command again."
            )
