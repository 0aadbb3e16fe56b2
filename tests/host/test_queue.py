"""``wan-lite queue`` against two real servers, one of which is killed in the middle and started again."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from host.client import Client
from host.comfyui import ComfyUI
from host.server import Server, make_base
from wan_lite.batches.manifest import RunSummary, read_records
from wan_lite.batches.queue.run import QueuePlan, run_queue
from wan_lite.batches.rows import RowFile


def graph(**changes: Any) -> dict[str, Any]:
    """Sample one image with a tiny student and save it."""
    load = {"student_name": "student_16ch", "precision": "fp32", "contract_preset": "flow_unipc-20 shift 5"}
    settings = {"seed": 0, "steps": 4, "cfg": 1.0, "shift": 5.0, "denoise": 1.0, "on_mismatch": "ignore"} | changes
    links = {"model": ["1", 0], "positive": ["2", 0], "latent_image": ["3", 0]}
    size = {"model": ["1", 0], "width": 0, "height": 0, "batch_size": 1}
    decode = {"samples": ["4", 0], "vae": ["5", 0], "tiling": "off", "budget_mb": 1024}
    return {
        "1": {"class_type": "WanLiteStudentLoader", "inputs": load},
        "2": {"class_type": "WanLiteTextEmbedsLoad", "inputs": {"name": "student_16ch.safetensors", "index": -1}},
        "3": {"class_type": "WanLiteEmptyLatent", "inputs": size},
        "4": {"class_type": "WanLiteFlowUniPCSampler", "inputs": links | settings, "_meta": {"title": "Sample"}},
        "5": {"class_type": "WanLiteVAELoader", "inputs": {"vae_name": "wan21_tiny.safetensors", "precision": "fp32"}},
        "6": {"class_type": "WanLiteVAEDecode", "inputs": decode},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "row"}},
    }


def write_rows(folder: Path, count: int) -> Path:
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["seed", "Sample.steps"])
        table.writerows([[i, 2 + i % 3] for i in range(count)])
    return folder / "rows.csv"


def make_plan(folder: Path, out: str, rows: Path, servers: list[str]) -> QueuePlan:
    (folder / "workflow.json").write_text(json.dumps(graph()), "utf-8")
    return QueuePlan(folder / "workflow.json", ["4.seed={seed}"], RowFile(rows), folder / out, servers)


def hashes(folder: Path) -> list[str]:
    """The digest of each row's one file, which is the one in the folder."""
    found = []
    for record in read_records(folder):
        assert (record.status, len(record.files)) == ("done", 1), record
        content = (folder / record.files[0]["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record.files[0]["sha256"]
        found.append(record.files[0]["sha256"])
    return found


def test_rows_on_one_server(tmp_path: Path, comfy: Client) -> None:
    plan = make_plan(tmp_path, "out", write_rows(tmp_path, 6), [comfy.url])
    assert run_queue(plan) == RunSummary(done=6)
    assert len(set(hashes(plan.folder))) == 6
    assert run_queue(plan) == RunSummary(skipped=6)


def test_the_servers_sentence_for_a_row_that_fails(tmp_path: Path, comfy: Client) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("seed,4.shift,4.on_mismatch\n1,5,error\n2,-1,error\n3,5,maybe\n", "utf-8")
    plan = make_plan(tmp_path, "out", rows, [comfy.url])
    summary = run_queue(plan)
    assert (summary.done, summary.failed) == (1, 2)
    errors = [record.error for record in read_records(plan.folder)]
    assert "shift" in errors[1] and "on_mismatch" in errors[2]


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.soak)])
def test_a_server_killed_and_started_again_loses_nothing(
    tmp_path: Path, comfyui: ComfyUI, comfy: Client, count: int
) -> None:
    rows = write_rows(tmp_path, count)
    alone = make_plan(tmp_path, "alone", rows, [comfy.url])
    assert run_queue(alone).done == count
    second = Server(comfyui, _copy_base(comfy, tmp_path / "second"))
    with second:
        plan = make_plan(tmp_path, "both", rows, [comfy.url, second.url])
        seen = threading.Event()
        third = Server(comfyui, _copy_base(comfy, tmp_path / "third"), port=second.port)
        watcher = threading.Thread(target=_kill_and_start, args=(second, third, seen))
        watcher.start()

        def on_row(*_: object) -> None:
            """Let the second server die as soon as both have finished rows."""
            seen.set() if len({record.about["server"] for record in read_records(plan.folder)}) == 2 else None

        summary = run_queue(plan, on_row)
        watcher.join()
    third.stop()
    assert summary == RunSummary(done=count)
    assert hashes(plan.folder) == hashes(alone.folder)
    assert {record.about["server"] for record in read_records(plan.folder)} == {comfy.url, second.url}
    assert len(list(plan.folder.glob("*.png"))) == count


def _copy_base(comfy: Client, base: Path) -> Path:
    """A base directory of its own, with the same model files of the same times: what servers that share them have."""
    make_base(base, with_models=False)
    shutil.copytree(comfy.server.base / "models", base / "models", dirs_exist_ok=True)
    return base


def _kill_and_start(server: Server, again: Server, when: threading.Event) -> None:
    """SIGKILL the server in the middle, and start another at the same address."""
    assert when.wait(300)
    os.kill(server.pid, signal.SIGKILL)
    time.sleep(0.5)
    again.__enter__()


def test_an_image_does_not_tell_where_the_models_lie(tmp_path: Path, comfy: Client) -> None:
    plan = make_plan(tmp_path, "out", write_rows(tmp_path, 1), [comfy.url])
    run_queue(plan)
    content = next(plan.folder.glob("*.png")).read_bytes()
    assert b"is_changed" in content
    assert str(comfy.server.base).encode() not in content
