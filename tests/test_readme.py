"""README and docs/library.md say what is: snippets run, the file guide and the tables name what is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wan_lite.samplers.contract import PRESETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
LIBRARY = (ROOT / "docs" / "library.md").read_text("utf-8")
BATCHES = (ROOT / "docs" / "batches.md").read_text("utf-8")
NOT_RUN = "<!-- not run by the tests"
MADE_BY_TOOLS = {"out", "build", "dist", "__pycache__"}
GUIDED = ("models", "samplers", "pipeline", "check", "batches", "cli", "nodes")
"""Folders of which the file guide names every package."""


def snippets(language: str, page: str = README) -> list[str]:
    """The fenced blocks of one language, without those that are marked as not run in the line above."""
    found: list[list[str]] = []
    above, inside, kept = "", "", False
    for line in page.splitlines():
        if line.startswith("```"):
            inside, kept = ("", False) if inside else (line, line == f"```{language}" and NOT_RUN not in above)
            found += [[]] if kept else []
        elif kept:
            found[-1].append(line)
        above = line if line.strip() else above
    return ["\n".join(lines) for lines in found]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the pages see it: with the demo's weights and the workflows."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("demo", "workflows"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(command: list[str], place: Path) -> None:
    """Run a snippet there, with this environment's programs first, and show its output where it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=place, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("code", snippets("python") + snippets("python", LIBRARY) + snippets("python", BATCHES))
def test_python_snippets_run(code: str, place: Path) -> None:
    run([sys.executable, "-c", code], place)


def test_shell_snippets_run_in_order(place: Path) -> None:
    codes = snippets("sh")
    assert len(codes) >= 3
    run(["bash", "-euc", "\n".join(codes)], place)


def test_the_sweep_of_the_page_on_batches_runs(place: Path) -> None:
    run(["bash", "-euc", "\n".join(snippets("sh", BATCHES))], place)
    assert (place / "out" / "images" / "sheet.png").is_file() and (place / "out" / "images" / "index.html").is_file()


def test_both_kinds_of_snippets_were_found() -> None:
    assert len(snippets("python")) == 2
    assert len(snippets("python", LIBRARY)) == 10
    assert sum("wan-lite sample" in code for code in snippets("sh")) == 3


def test_the_file_guide_names_exactly_what_exists() -> None:
    block = re.search(r"## File guide\n\n.*?```text\n(.*?)\n```", README, re.S)
    assert block
    named, folder = set(), ""
    for line in block[1].splitlines():
        name, _, purpose = line.strip().partition(" ")
        assert purpose.strip(), f"{name} is named without a word about it"
        folder = name if not line.startswith(" ") else folder
        named.add(name if not line.startswith(" ") else folder + name)
    rooms = {path.parent.relative_to(ROOT) for name in GUIDED for path in (ROOT / name).rglob("__init__.py")}
    assert named == top_level(ROOT) | {f"{room.as_posix()}/" for room in rooms}


def test_the_node_table_names_exactly_the_nodes_that_exist() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "nodes").rglob("*.py"))
    exist = set(re.findall(r'node_id="(WanLite\w+)"', source))
    table = README.split("## Nodes", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"`(WanLite\w+)`", table)) == exist
    assert set(re.findall(r"`(WanLite\w+)`", README)) <= exist


def test_presets_and_commands_are_the_real_ones() -> None:
    from wan_lite.cli import COMMANDS

    table = README.split("| preset |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `(.+?)` \|", table, re.M)) == set(PRESETS)
    assert all(name in README for name in COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"^make ([a-z-]+)$|`make ([a-z-]+)`", README, re.M)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }


def test_the_version_table_is_what_the_settings_say() -> None:
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    pinned = re.search(r"torch==([\d.]+)", (ROOT / "constraints.txt").read_text("utf-8"))
    least_torch = re.search(r'"torch>=([\d.]+)"', settings)
    least_python = re.search(r'requires-python = ">=([\d.]+)"', settings)
    least_comfyui = re.search(r'requires-comfyui = ">=([\d.]+)"', settings)
    assert least_comfyui and re.search(rf"^\| ComfyUI \|.*\| {re.escape(least_comfyui[1])} or later \|$", README, re.M)
    assert pinned and f"| torch | {pinned[1]} " in README
    assert least_torch and f"| {least_torch[1]} or later |" in README
    assert least_python and re.search(rf"^\| Python \|.*\| {re.escape(least_python[1])} or later \|$", README, re.M)


def test_what_git_does_not_keep_is_nobodys_business(tmp_path: Path) -> None:
    for name in ("kept.py", "room/kept.py", ".vscode/settings.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "kept.py", "room"], check=True)
    assert top_level(tmp_path) == {"kept.py", "room/"}
    shutil.rmtree(tmp_path / ".git")
    assert top_level(tmp_path) == {"kept.py", "room/", "notes.txt"}


def top_level(root: Path) -> set[str]:
    """Names at the top of the project, folders with a slash: what git keeps, or where there is no git what is there."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode == 0 and (root / ".git").exists():
        kept = {path.partition("/")[0] for path in listed.stdout.split("\0") if path}
    else:
        kept = {path.name for path in root.iterdir() if not _is_made(path)}
    return {name + "/" * (root / name).is_dir() for name in kept if (root / name).exists()}


def _is_made(path: Path) -> bool:
    tools = path.name.startswith(".") and path.name not in (".ci", ".github", ".gitignore", ".comfyignore")
    return tools or path.name in MADE_BY_TOOLS or path.name.endswith(".egg-info")
