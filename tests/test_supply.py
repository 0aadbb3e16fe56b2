"""What the package may do to a machine: no connection, no program, no code from text; and what it brings with it."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("samplers", "models", "pipeline", "check", "cli", "nodes", "demo")
IN_ROOMS = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
FILES = sorted([*ROOT.glob("*.py"), *(path for path in IN_ROOMS if ROOT / "demo" / "train" not in path.parents)])
"""What the archive holds; the training of the demo is not in it."""
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

GUARD = """
import sys
DENIED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system",
          "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn",
          "urllib.Request", "webbrowser.open", "ftplib.connect", "http.client.connect", "smtplib.connect")
def deny(event, arguments):
    if event in DENIED:
        raise SystemExit(f"denied: {event} {str(arguments)[:200]}")
sys.addaudithook(deny)
"""
PRELOAD = "import torch, numpy, PIL.Image, einops, safetensors  # what these do when they are imported is theirs\n"
IMPORT = """
import importlib
for name in sys.argv[1].split():
    importlib.import_module(name)
print("done")
"""
USE = """
from pathlib import Path
from wan_lite.check import check_workflow
from wan_lite.cli import main
from wan_lite.models import load_wan_vae, load_world, rollout
from wan_lite.pipeline.inspection import inspect
root, out = Path(sys.argv[1]), Path(sys.argv[2])
demo = root / "demo" / "models"
vae = demo / "vae" / "wan-lite-demo" / "vae.safetensors"
student = demo / "wan_students" / "wan-lite-demo" / "student_ddim.safetensors"
embeds = demo / "wan_lite_embeds" / "wan-lite-demo" / "captions.safetensors"
arguments = ["sample", "--student", student, "--vae", vae, "--embeds", f"{embeds}:0", "--steps", 2]
assert main([*map(str, arguments), "--out", str(out / "a.png"), "--quiet"]) == 0
assert main(["inspect", str(demo)]) == 0
assert main(["convert", str(vae), str(out / "b.pth"), "--layout", "official"]) == 0
world = load_world(demo / "world_models" / "wan-lite-demo" / "world.safetensors")
frames = torch.zeros(1, 2, 3, world.frame_size, world.frame_size)
assert rollout(world, frames, steps=1, maskgit_steps=1).frames.shape[1] == 3
for path in (root / "workflows").glob("*.json"):
    assert not check_workflow(path).error
print("done")
"""


def run_guarded(program: str, *arguments: str) -> str:
    """Output of a program in a process where connections and other programs are denied."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, env={"PATH": "", "OMP_NUM_THREADS": "1"})
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("attempt", "event"),
    [
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import socket; socket.socket().connect(('127.0.0.1', 9))", "socket.connect"),
        ("import os; os.system('true')", "os.system"),
        ("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')", "urllib.Request"),
    ],
)
def test_the_guard_denies(attempt: str, event: str) -> None:
    assert f"denied: {event}" in run_guarded(GUARD + attempt)


def test_importing_every_module_connects_to_nothing_and_starts_no_program() -> None:
    inside = [path.relative_to(ROOT) for path in FILES if path.relative_to(ROOT).parts[0] != "nodes"]
    dotted = [".".join(["wan_lite", *path.with_suffix("").parts]).removesuffix(".__init__") for path in inside]
    modules = [name for name in dotted if not name.endswith("__main__")]
    assert len(modules) > 100
    assert run_guarded(PRELOAD + GUARD + IMPORT, " ".join(modules)).strip() == "done"


def test_use_connects_to_nothing_and_starts_no_program(tmp_path: Path) -> None:
    assert run_guarded(PRELOAD + GUARD + USE, str(ROOT), str(tmp_path)).strip().endswith("done")
    assert (tmp_path / "a.png").is_file()


REFUSED = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.fork", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "marshal.loads", "subprocess.run", "subprocess.Popen",
    "importlib.import_module", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load", "yaml.load", "shelve.open",
}  # fmt: skip


def find_calls(source: str) -> list[str]:
    """Calls that turn text into code, start a program or unpickle."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [name for call in calls if (name := ast.unparse(call.func)) in REFUSED or _unpickles(name, call)]


def _unpickles(name: str, call: ast.Call) -> bool:
    return name == "torch.load" and "weights_only=True" not in [ast.unparse(keyword) for keyword in call.keywords]


ALLOWED_CALLS = {"lazy_exports.py": "importlib.import_module"}
"""Loads the package's own modules by the names that its __init__ lists."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_becomes_code(path: Path) -> None:
    allowed = ALLOWED_CALLS.get(str(path.relative_to(ROOT)))
    assert [call for call in find_calls(path.read_text("utf-8")) if call != allowed] == []


def test_a_call_that_is_refused_is_found() -> None:
    source = "eval('1')\ntorch.load('x')\ntorch.load('x', weights_only=True)\nre.compile('x')\nmodel.eval()\n"
    assert find_calls(source) == ["eval", "torch.load"]


# Workflows of the published repository ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_and_nothing_else(path: Path) -> None:
    content = yaml.safe_load(path.read_text("utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in content[True]  # YAML's "on"
    for name, job in content["jobs"].items():
        assert job.get("permissions", {"contents": "read"}) == {"contents": "read"}, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
            assert "${{ github.event" not in step.get("run", ""), name
            assert "secrets." not in str(step) or step["uses"].startswith("Comfy-Org/publish-node-action@"), name


def test_the_published_ci_audits_dependencies() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))["jobs"]
    assert any("audit" in step.get("run", "") for job in jobs.values() for step in job["steps"])


def load_script(name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("licence", "good"),
    [
        ("MIT", True), ("Apache-2.0 AND BSD-3-Clause", True), ("MIT OR GPL-3.0", True), ("GPL-3.0-or-later", False),
        ("GNU Lesser General Public License v3", False), ("AGPL-3.0", False), ("not stated", False),
        ("CC-BY-NC-4.0", False), ("MPL-2.0 AND MIT", True), ("Apache-2.0 AND GPL-2.0", False),
    ],
)  # fmt: skip
def test_licences_are_told_apart(licence: str, good: bool) -> None:
    assert load_script("licences").judge(licence) == good


def test_licences_of_what_users_install_are_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_script("licences").main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "said", "verdict"),
    [
        (0, "No known vulnerabilities found", "audited"),
        (1, "Found 2 known vulnerabilities in 1 package", "vulnerable"),
        (1, "ERROR:pip_audit: Dependency not found on PyPI and could not be audited: x (1)", "not audited"),
        (1, "requests.exceptions.ConnectionError: Max retries exceeded", "not audited"),
        (2, "", "not audited"),
    ],
)
def test_an_audit_that_did_not_happen_is_said_to_be_none(code: int, said: str, verdict: str) -> None:
    assert load_script("audit").judge(code, said).startswith(verdict)


def test_an_audit_pins_what_is_installed_without_a_builds_suffix() -> None:
    pins = load_script("audit").list_requirements([("torch", "2.13.0+cpu"), ("wan-lite", "0.1.0"), ("Pillow", "10")])
    assert pins == ["Pillow==10", "torch==2.13.0"]
