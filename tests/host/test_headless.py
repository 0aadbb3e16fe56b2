"""docs/headless.md says what is: every command on the page runs against a real server, and does what is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from host.client import Client
from host.server import PACK

PAGE = (PACK / "docs" / "headless.md").read_text("utf-8")
PICTURES = 12


def block(first_words: str) -> str:
    """The one command or program of the page that holds these words."""
    found = [code for code in re.findall(r"```(?:sh|python)\n(.*?)```", PAGE, re.DOTALL) if first_words in code]
    assert len(found) == 1, f"{len(found)} blocks hold {first_words!r}"
    return found[0]


COMMANDS = {
    "fetch": "while read -r name query",
    "override": "jq '{prompt: map_values",
    "python": "def override(graph",
    "progress": "websocket.create_connection",
    "workflow": "extra_pnginfo",
    "comfy": "comfy run",
    "alone": "wan-lite sample",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that looks like the pack's, to write pictures into."""
    for name in ("workflows", "demo"):
        (tmp_path / name).symlink_to(PACK / name, target_is_directory=True)
    return tmp_path


def run(command: list[str], place: Path, comfy: Client) -> str:
    """Run it there, with the page's address replaced by this server's; return what it printed."""
    address = comfy.url.removeprefix("http://")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    changes = {"PATH": path, "COMFY": comfy.url, "HOME": str(place), "DO_NOT_TRACK": "1"}
    command = [part.replace("127.0.0.1:8188", address) for part in command]
    done = subprocess.run(
        command, cwd=place, env=os.environ | changes, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def history(comfy: Client, prompt_id: str) -> dict[str, Any]:
    """The end of a run that was only queued."""
    deadline = time.monotonic() + 300
    while prompt_id not in (found := comfy.get_json(f"/history/{prompt_id}")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return dict(found[prompt_id])


def test_every_command_on_the_page_has_a_test() -> None:
    marked = PAGE.count("<!-- not run by the tests")
    assert len(re.findall(r"```(?:sh|python)\n", PAGE)) == len(COMMANDS) + marked
    assert len({block(words) for words in COMMANDS.values()}) == len(COMMANDS)


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="there is no jq or no curl here")
def test_curl_queues_waits_and_fetches(comfy: Client, place: Path) -> None:
    run(["bash", "-euc", block(COMMANDS["fetch"])], place, comfy)
    pictures = list(place.glob("*.png"))
    assert len(pictures) == PICTURES
    assert all(Image.open(picture).size == (64, 64) for picture in pictures)


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="there is no jq or no curl here")
def test_curl_overrides_seed_and_steps(comfy: Client, place: Path) -> None:
    answer = json.loads(run(["bash", "-euc", block(COMMANDS["override"])], place, comfy))
    assert answer["node_errors"] == {}
    ended = history(comfy, answer["prompt_id"])
    assert ended["status"]["status_str"] == "success"
    (sampler,) = [node for node in ended["prompt"][2].values() if node["class_type"] == "WanLiteFlowUniPCSampler"]
    assert (sampler["inputs"]["seed"], sampler["inputs"]["steps"]) == (7, 8)


def test_python_queues_overrides_and_fetches(comfy: Client, place: Path) -> None:
    printed = run([sys.executable, "-c", block(COMMANDS["python"])], place, comfy).split()
    assert len(printed) == PICTURES and {path.name for path in place.glob("*.png")} == set(printed)


def test_progress_comes_over_the_websocket(comfy: Client, place: Path) -> None:
    printed = run([sys.executable, "-c", block(COMMANDS["progress"])], place, comfy).splitlines()
    assert printed[-1].startswith("step ") and any(line == "step 20 of 20" for line in printed), printed


def test_a_headless_png_carries_the_workflow(comfy: Client, place: Path) -> None:
    prompt_id = run([sys.executable, "-c", block(COMMANDS["workflow"])], place, comfy).strip()
    ended = history(comfy, prompt_id)
    (entry, *_) = next(iter(ended["outputs"].values()))["images"]
    saved = Image.open(comfy.base / "output" / entry["subfolder"] / entry["filename"])
    workflow = json.loads((PACK / "workflows" / "student_flow_unipc.json").read_text("utf-8"))
    assert json.loads(saved.text["workflow"]) == workflow  # type: ignore[attr-defined]
    assert "wan_lite.sampling_contract" in saved.text  # type: ignore[attr-defined]


def test_comfy_cli_runs_the_page_form(comfy: Client, place: Path) -> None:
    if not (Path(sys.executable).parent / "comfy").is_file() and not shutil.which("comfy"):
        pytest.skip("there is no comfy-cli here")
    port = comfy.url.rpartition(":")[2]
    command = block(COMMANDS["comfy"]).replace("comfy run", f"comfy --skip-prompt run --host 127.0.0.1 --port {port}")
    printed = run(["bash", "-euc", command], place, comfy)
    assert printed.count("flow_unipc_") >= PICTURES, printed


def test_the_command_line_paints_without_a_server(comfy: Client, place: Path) -> None:
    program = f"{sys.executable} -m wan_lite sample"
    run(["bash", "-euc", block(COMMANDS["alone"]).replace("wan-lite sample", program)], place, comfy)
    assert list(place.rglob("*.png"))
