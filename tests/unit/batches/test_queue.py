"""A workflow on servers, once for each row."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.batches.fake_comfyui import FakeComfyUI
from wan_lite.batches.manifest import RunSummary, read_records
from wan_lite.batches.queue.run import QueueError, QueuePlan, run_queue
from wan_lite.batches.queue.server import ServerError
from wan_lite.batches.rows import RowFile
from wan_lite.cli import main

WORKFLOW = {
    "3": {"class_type": "Text", "inputs": {"text": "a", "seed": 0}, "_meta": {"title": "Words"}},
}


@pytest.fixture
def server() -> Iterator[FakeComfyUI]:
    with FakeComfyUI() as fake:
        yield fake


def make_plan(folder: Path, servers: list[FakeComfyUI], rows: list[dict[str, object]], **more: object) -> QueuePlan:
    (folder / "workflow.json").write_text(json.dumps(WORKFLOW), "utf-8")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    settings = ["3.seed={seed}"] if "seed" in rows[0] else []
    plan = QueuePlan(
        folder / "workflow.json",
        settings,
        RowFile(folder / "rows.jsonl"),
        folder / "out",
        [server.url for server in servers],
    )
    for name, value in more.items():
        object.__setattr__(plan, name, value)
    return plan


def texts_of(folder: Path) -> list[str]:
    """The text of every result, row by row."""
    found = []
    for record in read_records(folder):
        assert [len(record.files), record.status] == [1, "done"]
        found.append(json.loads((folder / record.files[0]["path"]).read_text("utf-8"))["text"])
    return found


def test_each_row_is_run_once_and_kept(tmp_path: Path, server: FakeComfyUI) -> None:
    rows = [{"seed": i, "3.text": f"t{i}"} for i in range(20)]
    summary = run_queue(make_plan(tmp_path, [server], rows))
    assert summary == RunSummary(done=20)
    assert texts_of(tmp_path / "out") == [f"t{i}" for i in range(20)]
    assert sorted(prompt["3"]["inputs"]["seed"] for prompt in server.ran) == list(range(20))
    assert len([path for path in (tmp_path / "out").iterdir() if path.suffix == ".txt"]) == 20


def test_a_second_start_repeats_nothing(tmp_path: Path, server: FakeComfyUI) -> None:
    rows = [{"seed": i, "3.text": "fail" if i == 1 else "ok"} for i in range(3)]
    first = run_queue(make_plan(tmp_path, [server], rows))
    assert (first.done, first.failed) == (2, 1)
    assert "the model is missing" in first.errors[0]
    again = run_queue(make_plan(tmp_path, [server], rows))
    assert (again.done, again.failed, again.skipped) == (0, 0, 3)
    retried = run_queue(make_plan(tmp_path, [server], rows, retry=True))
    assert (retried.failed, retried.skipped) == (1, 2)


def test_a_line_that_was_cut_off_is_run_again(tmp_path: Path, server: FakeComfyUI) -> None:
    plan = make_plan(tmp_path, [server], [{"seed": i, "3.text": "ok"} for i in range(3)])
    run_queue(plan)
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert run_queue(plan).done == 1
    assert len(list(read_records(tmp_path / "out"))) == 3


def test_other_rows_in_the_same_folder_are_refused(tmp_path: Path, server: FakeComfyUI) -> None:
    run_queue(make_plan(tmp_path, [server], [{"seed": 1}]))
    with pytest.raises(ValueError, match=r"row 0 .* another --out"):
        run_queue(make_plan(tmp_path, [server], [{"seed": 2}]))


def test_the_servers_own_reason_is_kept_and_the_rest_goes_on(tmp_path: Path, server: FakeComfyUI) -> None:
    rows = [{"3.text": "refuse"}, {"3.text": "ok"}]
    summary = run_queue(make_plan(tmp_path, [server], rows))
    assert (summary.done, summary.failed) == (1, 1)
    records = list(read_records(tmp_path / "out"))
    assert "Value not in list: text: 'refuse'" in records[0].error
    assert records[1].status == "done"


def test_a_server_that_dies_loses_nothing(tmp_path: Path) -> None:
    rows = [{"seed": i, "3.text": f"t{i}"} for i in range(40)]
    with FakeComfyUI(seconds=0.05) as first, FakeComfyUI(seconds=0.05) as second:
        killer = threading.Timer(0.4, second.stop)
        killer.start()
        back = threading.Timer(1.5, second.start)
        back.start()
        summary = run_queue(make_plan(tmp_path, [first, second], rows))
        back.join()
    assert (summary.done, summary.failed) == (40, 0)
    assert texts_of(tmp_path / "out") == [f"t{i}" for i in range(40)]
    assert first.ran and second.ran
    lines = (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == len({json.loads(line)["row"] for line in lines}) == 40


def test_a_row_that_ends_its_server_again_and_again_is_given_up(tmp_path: Path, server: FakeComfyUI) -> None:
    plan = make_plan(tmp_path, [server], [{"3.text": "die"}], depth=1)
    starter = threading.Thread(target=lambda: [_start_when_gone(server) for _ in range(3)], daemon=True)
    starter.start()
    summary = run_queue(plan)
    assert summary.failed == 1 and "lost 3 times" in summary.errors[0]


def _start_when_gone(server: FakeComfyUI) -> None:
    while server._runner is not None:
        threading.Event().wait(0.05)
    server.start()


def test_a_server_at_work_is_waited_for_whatever_another_does(tmp_path: Path) -> None:
    rows = [{"3.text": f"t{i}"} for i in range(2)]
    with FakeComfyUI(seconds=4.0) as slow, FakeComfyUI(seconds=4.0) as gone:
        killer = threading.Timer(0.5, gone.stop)
        killer.start()
        summary = run_queue(make_plan(tmp_path, [slow, gone], rows, depth=1, patience=1.0))
    assert (summary.done, summary.failed) == (2, 0)


def test_servers_that_stay_away_end_the_run_with_what_is_done(tmp_path: Path, server: FakeComfyUI) -> None:
    rows = [{"3.text": "ok"}, {"3.text": "die"}, {"3.text": "ok"}]
    with pytest.raises(QueueError, match="run the same command again"):
        run_queue(make_plan(tmp_path, [server], rows, depth=1, patience=0.5))
    server.start()
    assert [record.row for record in read_records(tmp_path / "out")] == [0]


def test_a_server_that_is_no_comfyui_or_lacks_the_pack_is_named(tmp_path: Path, server: FakeComfyUI) -> None:
    plan = make_plan(tmp_path, [server], [{"seed": 1}])
    server.classes = {}
    with pytest.raises(ServerError, match="has no node Text"):
        run_queue(plan)
    with pytest.raises(ServerError, match="nothing answers"):
        run_queue(QueuePlan(plan.workflow, [], plan.rows, plan.folder, ["http://127.0.0.1:9"]))
    with pytest.raises(ServerError, match="give an address"):
        run_queue(QueuePlan(plan.workflow, [], plan.rows, plan.folder, ["ftp://x"]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "row", "said"),
    [
        (["9.seed=1"], {"seed": 1}, "no such node"),
        (["3.sead=1"], {"seed": 1}, "it has text, seed, note"),
        (["3.seed={sead}"], {"seed": 1}, "no column 'sead'"),
        ([], {"seed": 1}, "goes nowhere"),
        (["3.seed={seed}", "Words.seed=1"], {"seed": 1}, "set twice"),
        (["3.seed={seed}"], {"seed": "many"}, "takes a whole number"),
        (["3.seed"], {"seed": 1}, "NODE.INPUT=VALUE"),
    ],
)
def test_what_has_no_place_is_said_before_the_work(
    tmp_path: Path, server: FakeComfyUI, settings: list[str], row: dict[str, object], said: str
) -> None:
    plan = make_plan(tmp_path, [server], [{"seed": 0}, row], settings=settings)
    with pytest.raises(ValueError, match=said):
        run_queue(plan)
    assert not server.ran and not (tmp_path / "out").exists()


def test_the_command_line(tmp_path: Path, server: FakeComfyUI, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(tmp_path, [server], [{"word": "blue", "name": "one"}, {"word": "refuse", "name": "two"}])
    options = ["--rows", str(plan.rows.path), "--set", "Words.text={word}", "--server", server.url]
    code = main(["queue", str(plan.workflow), *options, "--out", str(tmp_path / "out"), "--check", "--quiet"])
    said = capsys.readouterr()
    assert code == 1
    assert "1 rows done, 1 failed" in said.out and "Value not in list" in said.err
    assert json.loads((tmp_path / "out" / "one_0.txt").read_text("utf-8"))["text"] == "blue"
