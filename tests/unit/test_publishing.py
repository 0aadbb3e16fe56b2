"""The workflow that publishes: every action is pinned by commit, and nothing but the version's own tag is published."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
    used = [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        ("tag", "v{}", True),
        ("tag", "v{}.1", False),
        ("tag", "{}", False),
        ("branch", "main", False),
        ("branch", "v{}", False),
    ],
)
def test_only_the_tag_of_the_version_is_published(kind: str, name: str, allowed: bool) -> None:
    assert VERSION is not None
    jobs = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text("utf-8"))["jobs"]
    script = next(step["run"] for step in jobs["tag"]["steps"] if "run" in step)
    environment = os.environ | {"GITHUB_REF_TYPE": kind, "GITHUB_REF_NAME": name.format(VERSION[1])}
    done = subprocess.run(["bash", "-e", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == allowed, done.stdout
    # and nothing runs without it, however the workflow was started
    assert (jobs["test"]["needs"], jobs["publish"]["needs"]) == ("tag", "test")
    assert not any("if" in job for job in jobs.values())
