"""Rows through the library's own pipeline: the same bytes on every engine, and nothing lost with a worker."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from wan_lite.batches.engine.engines import Workplace
from wan_lite.batches.engine.groups import Rows, list_groups
from wan_lite.batches.engine.run import BatchPlan, run_batch
from wan_lite.batches.manifest import RunSummary, read_records
from wan_lite.batches.rows import RowFile
from wan_lite.cli import main
from wan_lite.models.text_embeds import save_text_embeds

VECTORS = Path(__file__).resolve().parents[2] / "vectors"


@pytest.fixture
def constants(tmp_path: Path) -> dict[str, str]:
    """A tiny student with its VAE and text, as columns of every row."""
    text = load_file(VECTORS / "student_16ch" / "golden.safetensors")["text"]
    save_text_embeds(tmp_path / "text.safetensors", [text, text[: len(text) // 2]], ["long", "short"])
    return {
        "student": str(VECTORS / "student_16ch"),
        "vae": str(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors"),
        "contract": "flow_unipc-20 shift 5",
        "on_mismatch": "ignore",
        "steps": "2",
    }


def make_plan(folder: Path, constants: dict[str, str], count: int, out: str = "out", **more: object) -> BatchPlan:
    rows = [{"seed": i, "embeds": f"{folder / 'text.safetensors'}:{('long', 'short')[i % 2]}"} for i in range(count)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    place = more.pop("place", None) or Workplace(folder / out)
    return BatchPlan(RowFile(folder / "rows.jsonl"), place, constants=constants, **more)  # type: ignore[arg-type]


def digests(folder: Path) -> list[str]:
    records = list(read_records(folder))
    assert [record.status for record in records] == ["done"] * len(records), [record.error for record in records]
    return [record.files[0]["sha256"] for record in records]


def test_rows_become_images_with_their_seed_and_contract(tmp_path: Path, constants: dict[str, str]) -> None:
    assert run_batch(make_plan(tmp_path, constants, 5)) == RunSummary(done=5)
    assert len(set(digests(tmp_path / "out"))) == 5
    with Image.open(tmp_path / "out" / "000003.png") as image:
        assert json.loads(image.info["wan_lite.seed"]) == 3
        assert json.loads(image.info["wan_lite.sampling_contract"])["steps"] == 2
    assert [record.about["seed"] for record in read_records(tmp_path / "out")] == list(range(5))


def test_an_image_is_what_sample_makes(tmp_path: Path, constants: dict[str, str]) -> None:
    run_batch(make_plan(tmp_path, constants, 1, batch=1))
    options = ["--student", constants["student"], "--vae", constants["vae"], "--contract", constants["contract"]]
    options += ["--steps", "2", "--on-mismatch", "ignore", "--embeds", f"{tmp_path / 'text.safetensors'}:long"]
    assert main(["sample", *options, "--out", str(tmp_path / "one.png"), "--quiet"]) == 0
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "out" / "000000.png") as row:
        assert one.tobytes() == row.tobytes()


def test_a_resumed_run_gives_the_bytes_of_an_uncut_one(tmp_path: Path, constants: dict[str, str]) -> None:
    whole = make_plan(tmp_path, constants, 7, "whole")
    run_batch(whole)
    cut = make_plan(tmp_path, constants, 7, "cut")

    class Enough(Exception):
        pass

    def stop_after_two(record: object, seen: list[object] = []) -> None:  # noqa: B006 - it counts
        seen.append(record)
        if len(seen) == 2:
            raise Enough

    with pytest.raises(Enough):
        run_batch(cut, stop_after_two)
    assert run_batch(cut) == RunSummary(done=5, skipped=2)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_processes_give_the_same_bytes_and_survive_a_killed_worker(tmp_path: Path, constants: dict[str, str]) -> None:
    alone = make_plan(tmp_path, constants, 12, "alone", batch=2)
    run_batch(alone)
    two = make_plan(tmp_path, constants, 12, batch=2, place=Workplace(tmp_path / "two", ["cpu", "cpu"]))
    killer = Killer("multiprocessing.spawn", tmp_path / "two")
    with killer:
        assert run_batch(two) == RunSummary(done=12)
    assert killer.killed
    assert digests(tmp_path / "two") == digests(tmp_path / "alone")


@pytest.mark.slow
def test_ray_gives_the_same_bytes_and_survives_a_killed_worker(tmp_path: Path, constants: dict[str, str]) -> None:
    alone = make_plan(tmp_path, constants, 24, "alone", batch=2)
    run_batch(alone)
    place = Workplace(tmp_path / "ray", ["cpu", "cpu"])
    killer = Killer("ray::MapWorker", tmp_path / "ray")
    with killer:
        assert run_batch(make_plan(tmp_path, constants, 24, batch=2, place=place, engine="ray")) == RunSummary(done=24)
    assert killer.killed
    assert digests(tmp_path / "ray") == digests(tmp_path / "alone")
    assert len(list(place.folder.glob("*.png"))) == 24


class Killer:
    """Kills one worker, a child of this process, as soon as a first result is there."""

    def __init__(self, words: str, folder: Path) -> None:
        self.words, self.folder, self.killed, self.over = words, folder, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *exception: object) -> None:
        self.over = True
        self.thread.join()

    def run(self) -> None:
        while not self.over and not self.killed:
            if any(self.folder.glob("*.png")):
                for process in psutil.Process().children(recursive=True):
                    if self.words in " ".join([process.name(), *process.cmdline()]):
                        process.kill()
                        self.killed = process.pid
                        return
            time.sleep(0.01)


def test_groups_depend_on_the_rows_alone(tmp_path: Path, constants: dict[str, str]) -> None:
    rows = [{"seed": i, "steps": 2 + i % 2, "embeds": "x:y"} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    groups = list_groups(Rows(RowFile(tmp_path / "rows.jsonl"), constants, 4))
    assert [[row.index for row, _, _ in group.rows] for group in groups] == [[0, 2, 4, 6], [8], [1, 3, 5, 7], [9]]


def test_worlds_roll_out(tmp_path: Path) -> None:
    from wan_lite.demo import demo_file

    world, clip = demo_file("world"), demo_file("world_clip")
    rows = [{"seed": i, "actions": actions} for i, actions in enumerate(["0, 1", "2x3"])]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    constants = {"world": str(world), "clip": f"{clip}:0", "frames": "3", "maskgit_steps": "2"}
    assert (
        run_batch(BatchPlan(RowFile(tmp_path / "rows.jsonl"), Workplace(tmp_path / "out"), constants=constants)).done
        == 2
    )
    with Image.open(tmp_path / "out" / "000001.webp") as video:
        assert video.n_frames == 3 + 2
    assert [record.about["actions"] for record in read_records(tmp_path / "out")] == [[0, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"seed": "x"}, "seed is 'x'; give a whole number"),
        ({"sead": 1}, "column 'sead', which nothing reads"),
        ({"vae": "nowhere.safetensors"}, "nowhere.safetensors is not there"),
        ({"prompt": "words"}, "either a prompt"),
        ({"precision": "fp4"}, "choose one of fp32"),
        ({"steps": 0}, "steps is '0'"),
        ({"world": "w"}, "has no clip"),
    ],
)
def test_bad_rows_are_said_before_the_work(
    tmp_path: Path, constants: dict[str, str], row: dict[str, object], said: str
) -> None:
    plan = make_plan(tmp_path, constants, 1)
    with plan.rows.path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"embeds": f"{tmp_path / 'text.safetensors'}:long"} | row) + "\n")
    with pytest.raises(ValueError, match=said):
        run_batch(plan)
    assert not (tmp_path / "out").exists()


def test_a_row_that_fails_does_not_end_the_run(
    tmp_path: Path, constants: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(constants["vae"], tmp_path / "bad.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    plan = make_plan(tmp_path, constants, 2)
    with plan.rows.path.open("a", encoding="utf-8") as file:
        row = {"embeds": f"{tmp_path / 'text.safetensors'}:long", "vae": str(tmp_path / "bad.safetensors")}
        file.write(json.dumps(row) + "\n")
    options = [part for item in constants.items() for part in ("--set", "=".join(item))]
    assert main(["batch", "--rows", str(plan.rows.path), "--out", str(tmp_path / "out"), *options, "--quiet"]) == 1
    said = capsys.readouterr()
    assert "2 rows done, 1 failed" in said.out and "bad.safetensors" in said.err


def test_one_wrong_row_of_a_batch_fails_alone(tmp_path: Path, constants: dict[str, str]) -> None:
    plan = make_plan(tmp_path, constants, 2)
    with plan.rows.path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"seed": 9, "embeds": f"{tmp_path / 'text.safetensors'}:no such caption"}) + "\n")
    summary = run_batch(plan)
    assert (summary.done, summary.failed) == (2, 1)
    assert "no such caption" in next(record.error for record in read_records(tmp_path / "out") if record.error)


def test_names_that_give_one_file_are_refused(tmp_path: Path, constants: dict[str, str]) -> None:
    plan = make_plan(tmp_path, constants, 1)
    rows = [{"name": name, "embeds": f"{tmp_path / 'text.safetensors'}:long"} for name in ("a/b", "a:b")]
    plan.rows.path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with pytest.raises(ValueError, match="like line 1"):
        run_batch(plan)


def test_seeds_of_a_batch_are_those_of_single_images() -> None:
    from wan_lite.samplers import per_item_noise

    batch = per_item_noise((3, 2, 2), [7, 3, 7])
    assert torch.equal(batch[0], batch[2]) and torch.equal(batch[1], per_item_noise((1, 2, 2), 3)[0])
    with pytest.raises(ValueError, match="2 seeds are given for a batch of 3"):
        per_item_noise((3, 2, 2), [1, 2])
    with pytest.raises(ValueError, match="seed is -1"):
        per_item_noise((1, 2), [-1])
