"""The shape of the package: who may import whom, what importing it costs, and where it may print."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("models", "samplers", "pipeline", "check", "nodes", "cli", "demo")
HOST = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfyui_version",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "server",
}
"""Modules of ComfyUI."""

INSIDE = {
    "samplers": set(),
    "models": set(),
    "pipeline": {"models", "samplers"},
    "check": {"models", "samplers", "pipeline"},
    "nodes": {"models", "samplers", "pipeline", "check"},
    "cli": {"models", "samplers", "pipeline", "check", "demo"},
    "demo": {"models", "samplers", "pipeline", "cli"},
    "": {"nodes", "cli"},
}
"""Which folder may import which others of the package ("" is the root)."""

INSIDE_EXCEPTIONS = {
    "models/student/student.py": {"samplers.contract"},  # the loader returns the contract that the file carries
    "models/student/loading.py": {"samplers.contract"},
    "models/contract_files.py": {"samplers.contract"},
    "models/known_students/student.py": {"samplers.contract"},
    "models/world/rollout.py": {"samplers"},
}

OUTSIDE = {
    "samplers": {"torch"},
    "models": {"torch", "einops", "safetensors", "numpy"},
    "pipeline": {"torch", "einops", "safetensors", "numpy", "PIL", "transformers", "ftfy"},
    "check": {"PIL", "av", "scipy"},
    "nodes": {"torch", "einops", "safetensors", "numpy", "PIL"} | HOST,
    "cli": {"torch", "einops", "safetensors", "numpy", "PIL", "transformers", "av", "tqdm"},
    "demo": {"torch", "einops", "safetensors", "numpy", "PIL"},
    "": set(),
}
"""Which modules from elsewhere a folder may import, beside the standard library."""

MOST_LINES, MOST_LINES_OF_VAE = 300, 400


def files() -> list[Path]:
    found = [*ROOT.glob("*.py"), *(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))]
    return sorted(path.relative_to(ROOT) for path in found)


def layer_of(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else ""


def imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """(dotted name seen from the root or from outside, whether it is inside the package, line) of each import."""
    for statement in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(statement, ast.Import):
            yield from ((alias.name, False, statement.lineno) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            yield statement.module or "", False, statement.lineno
        elif isinstance(statement, ast.ImportFrom):
            base = path.parent.parts[: len(path.parent.parts) - statement.level + 1]
            module = ".".join([*base, *([statement.module] if statement.module else [])])
            names = [f"{module}.{alias.name}".strip(".") for alias in statement.names]
            yield from ((name, True, statement.lineno) for name in names)


@pytest.mark.parametrize("path", files(), ids=str)
def test_imports_go_one_way(path: Path) -> None:
    layer, wrong = layer_of(path), []
    excepted = INSIDE_EXCEPTIONS.get(path.as_posix(), set())
    for name, inside, line in imports(path):
        first = name.split(".")[0]
        if inside:
            allowed = first == layer or first in INSIDE[layer] or first not in LAYERS
            allowed = allowed or any(f"{name}.".startswith(f"{other}.") for other in excepted)
        else:
            allowed = first in OUTSIDE[layer] or first in sys.stdlib_module_names
        if not allowed:
            wrong.append(f"{path}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", files(), ids=str)
def test_nothing_inside_prints(path: Path) -> None:
    if layer_of(path) in ("cli", "demo"):
        return
    calls = [node for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not prints, f"{path} prints in lines {prints}; use logging"


@pytest.mark.parametrize("path", files(), ids=str)
def test_files_and_functions_are_short(path: Path) -> None:
    source = (ROOT / path).read_text("utf-8")
    most = MOST_LINES_OF_VAE if path.as_posix().startswith("models/wan_vae") else MOST_LINES
    assert len(source.splitlines()) <= most
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    # A node's schema is a table of its inputs, not a program.
    long = [f.name for f in functions if f.name != "define_schema" and f.end_lineno - f.lineno >= 60]  # type: ignore[operator]
    assert not long, f"{path}: {long} are longer than 60 lines"


def test_function_lengths() -> None:
    lengths = [
        node.end_lineno - node.body[0].lineno + 1  # type: ignore[operator]
        for path in files()
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert statistics.median(lengths) <= 12


@pytest.mark.parametrize("path", [path for path in files() if layer_of(path) == "nodes"], ids=str)
def test_nodes_are_thin(path: Path) -> None:
    """What a node does: convert, call, convert back. No loop, every input by its name."""
    functions = [n for n in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))) if isinstance(n, ast.FunctionDef)]
    for execute in (function for function in functions if function.name == "execute"):
        assert execute.end_lineno - execute.body[0].lineno < 15, f"{path}:{execute.lineno} is long"  # type: ignore[operator]
        assert execute.args.kwarg is None, f"{path}:{execute.lineno} takes inputs that it does not name"
        loops = [node for node in ast.walk(execute) if isinstance(node, ast.For | ast.While)]
        assert not loops, f"{path}:{execute.lineno} has a loop"


@pytest.mark.parametrize("path", files(), ids=str)
def test_every_function_is_typed(path: Path) -> None:
    bare = []
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            if untyped or node.returns is None:
                bare.append(f"{path}:{node.lineno} {node.name}({', '.join(untyped)})")
    assert not bare, "\n".join(bare)


def test_packages_of_the_wheel_are_all_there() -> None:
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {ROOT} | {path.parent for layer in LAYERS for path in (ROOT / layer).rglob("__init__.py")}
    names = {".".join(["wan_lite", *folder.relative_to(ROOT).parts]) for folder in folders}
    # The training scripts of the demo stay in the repository.
    assert set(settings["packages"]) == {name for name in names if not name.startswith("wan_lite.demo.train")}


def fresh_python(code: str) -> str:
    """Output of ``code`` in a new interpreter outside of the repository."""
    run = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = set(json.loads(fresh_python("import sys, json, wan_lite; print(json.dumps([*sys.modules]))")))
    assert not loaded & {"torch", "numpy", "diffusers", "transformers", "matplotlib", "einops", "safetensors", "PIL"}


def test_importing_the_library_never_loads_what_only_peers_need() -> None:
    rooms = "wan_lite.models, wan_lite.samplers, wan_lite.pipeline, wan_lite.check"
    code = f"import sys, json, {rooms}; print(json.dumps([*sys.modules]))"
    loaded = set(json.loads(fresh_python(code)))
    assert not loaded & ({"diffusers", "transformers", "matplotlib", "scipy", "av"} | HOST)


@pytest.mark.parametrize(
    ("modules", "limit"), [("wan_lite", 0.03), ("wan_lite.models, wan_lite.samplers, wan_lite.pipeline", 0.2)]
)
def test_importing_costs_little_beside_torch(modules: str, limit: float) -> None:
    """A ratio within one process, because a machine's speed is not the package's. torch takes one to two seconds."""
    code = (
        "import time; a = time.process_time(); import torch; b = time.process_time();"
        f"import {modules}; c = time.process_time(); print((c - b) / (b - a))"
    )
    assert statistics.median(float(fresh_python(code)) for _ in range(3)) < limit
