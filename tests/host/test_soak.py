"""The long runs of `make soak`: every shipped workflow, mixed, good and bad, from two clients, through one server."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from browser.regenerate import paths_for, shipped_workflows
from host.client import Client, Result
from host.large_models import LARGE, shrink

pytestmark = pytest.mark.soak

PROMPTS = int(os.environ.get("WAN_LITE_SOAK_PROMPTS", "500"))
SEEDS = 3
MOST_GROWTH = 1.05
"""Memory after all prompts over memory after the early ones, each time after models and results were given back."""
WORKFLOWS = shipped_workflows()
EARLY = max(PROMPTS // 10, len(WORKFLOWS))
"""Prompts until memory is first measured: by then each workflow has loaded what is loaded once."""
FREE = {"unload_models": True, "free_memory": True}
BREAKS: list[tuple[str, Any]] = [
    ("steps", -1), ("steps", "many"), ("seed", -5), ("shift", float("inf")), ("vae_name", "no such file.safetensors"),
    ("student_name", 3), ("width", 2**40), ("samples", ["999", 0]), ("images", ["1", 99]),
]  # fmt: skip


def make_graph(number: int) -> dict[str, Any]:
    """The workflow of a number, at one of a few seeds; those of large models at a small size."""
    path = WORKFLOWS[number % len(WORKFLOWS)]
    graph = json.loads(paths_for(path)[0].read_text("utf-8"))
    graph = shrink(graph) if path in LARGE else graph
    for node in graph.values():
        for name in ("seed", "noise_seed"):
            if isinstance(node["inputs"].get(name), int):
                node["inputs"][name] = number // len(WORKFLOWS) % SEEDS
    return graph


def break_graph(graph: dict[str, Any], chance: random.Random) -> dict[str, Any] | None:
    """Make one input of a graph impossible; None where it has none of those that are known how to."""
    places = [(node, name, value) for name, value in BREAKS for node in graph.values() if name in node["inputs"]]
    if not places:
        return None
    node, name, value = chance.choice(places)
    node["inputs"][name] = value
    return graph


def digest(result: Result) -> str:
    """What a run showed and saved: pixels and texts."""
    whole = hashlib.sha256()
    for node_id, shown in sorted(result.outputs.items()):
        for image in result.images(node_id):
            whole.update(image.tobytes())
        whole.update(json.dumps(shown.get("text", [])).encode())
    return whole.hexdigest()


class Load:
    """Prompts from several clients at one server, and what became of them."""

    def __init__(self, comfy: Client) -> None:
        self.comfy = comfy
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.digests: dict[tuple[int, int], set[str]] = {}
        self.repeated = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def run(self, numbers: range) -> int:
        """Send the prompts of these numbers from two clients; return the server's memory afterwards."""
        with ThreadPoolExecutor(2) as clients:
            list(clients.map(self.send, numbers))
        return self.measure()

    def send(self, number: int) -> None:
        """Queue one prompt, of ten one that is impossible, and keep what came of it."""
        chance = random.Random(number)
        graph = make_graph(number)
        broken = break_graph(graph, chance) if number % 10 == 9 else None
        if number % 25 == 24:
            self.comfy.post_json("/free", FREE)
        result = self.comfy.queue(broken or graph, timeout=900)
        with self.lock:
            self.note(number, result, is_broken=broken is not None)

    def note(self, number: int, result: Result, *, is_broken: bool) -> None:
        """Keep what came of a prompt. Of one that is impossible in a branch, the host names it and runs the others."""
        end = f"{result.status} in part" if result.status == "success" and result.node_errors else result.status
        self.ends[f"{'broken' if is_broken else 'good'} {end}"] += 1
        allowed = {"invalid", "success in part", "interrupted"} if is_broken else {"success", "interrupted"}
        if end not in allowed:
            name = WORKFLOWS[number % len(WORKFLOWS)].stem
            self.wrong.append(f"{number} {name}: {end} {result.said} {result.node_errors}")
        elif end == "success":
            key = number % len(WORKFLOWS), number // len(WORKFLOWS) % SEEDS
            self.repeated += key in self.digests
            self.digests.setdefault(key, set()).add(digest(result))

    def interrupt_now_and_then(self, chance: random.Random) -> None:
        """Interrupt whatever runs, about once in twenty prompts, until told to stop."""
        while not self.stopping.wait(chance.uniform(5, 40)):
            self.comfy.interrupt()

    def measure(self) -> int:
        """Memory of the server when it has given back what it can, and what it keeps of each prompt for its page."""
        self.comfy.post_json("/free", FREE)
        self.comfy.post_json("/history", {"clear": True})
        self.comfy.queue({"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1,
                                                                     "color": 0}},
                          "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})  # fmt: skip
        return int(psutil.Process(self.comfy.server.pid).memory_info().rss)


def test_hundreds_of_prompts_over_every_workflow(stand_ins: Client, record_property: Any) -> None:
    load = Load(stand_ins)
    interrupter = threading.Thread(target=load.interrupt_now_and_then, args=(random.Random(0),))
    interrupter.start()
    try:
        memory = [load.run(range(EARLY))]
        memory += [load.run(range(first, min(first + EARLY, PROMPTS))) for first in range(EARLY, PROMPTS, EARLY)]
    finally:
        load.stopping.set()
        interrupter.join()
    record_property("ends", dict(load.ends))
    record_property("memory", memory)
    record_property("repeated", load.repeated)
    assert not load.wrong, "\n".join(load.wrong)
    differing = [WORKFLOWS[index].stem for (index, _), found in load.digests.items() if len(found) > 1]
    assert not differing, differing
    assert (
        load.ends["broken invalid"] + load.ends["broken success in part"] >= PROMPTS // 20
        and load.ends["good success"] > PROMPTS // 2
    ), load.ends
    said = f"MiB after every {EARLY} prompts: {[round(one / 2**20) for one in memory]}"
    assert memory[-1] <= MOST_GROWTH * memory[0], said
