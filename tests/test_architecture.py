"""The shape of the project: who may import whom, how long things are, and what importing costs."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ("samplers", "models", "pipeline", "check", "batches", "cli", "nodes", "demo")
TOOLS = ("benchmarks", "scripts")
HOST = {"comfy", "comfy_api", "comfy_execution", "comfyui_version", "folder_paths", "latent_preview", "server"}
"""Modules of ComfyUI."""

INSIDE = {
    "": {"nodes", "cli"},
    "samplers": set(),
    "models": {"samplers"},
    "pipeline": {"samplers", "models"},
    "check": {"samplers", "models"},
    "batches": {"samplers", "models", "pipeline", "check"},
    "cli": {"samplers", "models", "pipeline", "check", "batches"},
    "nodes": {"samplers", "models", "pipeline", "check"},
    "demo": {"samplers", "models", "pipeline"},
    "benchmarks": {"samplers", "models", "pipeline", "batches"},
    "scripts": set(),
}
"""Which folder may import which others of the package ("" is the root, whose own modules all may import)."""

OUTSIDE = {
    "": set(),
    "samplers": {"torch"},
    "models": {"torch", "einops", "safetensors"},
    "pipeline": {
        *("torch", "einops", "numpy", "PIL", "safetensors"),
        *("av", "h5py", "kornia", "sentencepiece", "transformers", "ftfy"),
    },
    "check": {"PIL", "av", "scipy"},
    "batches": {"PIL", "aiohttp", "einops", "filelock", "numpy", "pyarrow", "ray", "torch", "wandb"},
    "cli": {"torch", "aiohttp", "einops", "PIL", "shtab", "tqdm"},
    "nodes": {"aiohttp", "torch", "einops"} | HOST,
    "demo": {"torch", "einops", "safetensors", "PIL", "tqdm"},
    "benchmarks": {
        *("torch", "numpy", "PIL", "safetensors", "psutil"),
        *("diffusers", "comfy", "models", "train_distillation"),
    },
    "scripts": {
        "PIL",
        "packaging",
        "browser",
        "build_workflows",
        "host",
        "pdoc",
        "wan_lite",
        "workflow_drawing",
        "workflow_plans",
    },
}
"""Which modules from elsewhere a folder may import, beside the standard library."""

SCHEMA = "define_schema"  # a node's schema is a table of its inputs, not a program
MAX_LINES, MAX_LINES_OF_TESTS, MAX_MODULES, MAX_FUNCTION = 400, 500, 14, 60


def rooms() -> list[str]:
    return [room for room in (*PACKAGE, *TOOLS) if (ROOT / room).is_dir()]


def files() -> list[Path]:
    found = [*ROOT.glob("*.py"), *(path for room in rooms() for path in (ROOT / room).rglob("*.py"))]
    return sorted(path.relative_to(ROOT) for path in found)


def room_of(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else ""


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"))


def module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(tree: ast.AST, *, for_types: bool = True) -> Iterator[ast.AST]:
    """All nodes of a tree, those under ``if TYPE_CHECKING`` only where asked for."""
    if not for_types and isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from statements(child, for_types=for_types)


def imports(path: Path, *, for_types: bool = True) -> Iterator[tuple[str, bool, int]]:
    """(dotted name seen from the root or from outside, whether it is inside the package, line) of each import."""
    for statement in statements(parse(path), for_types=for_types):
        if isinstance(statement, ast.Import):
            yield from ((alias.name, False, statement.lineno) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            yield statement.module or "", False, statement.lineno
        elif isinstance(statement, ast.ImportFrom):
            base = path.parent.parts[: len(path.parent.parts) - statement.level + 1]
            module = ".".join([*base, *([statement.module] if statement.module else [])])
            names = [f"{module}.{alias.name}".strip(".") for alias in statement.names]
            yield from ((name, True, statement.lineno) for name in names)


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    found = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [function for function in found if function.name != SCHEMA]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def docstring_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    is_docstring = ast.get_docstring(function) is not None
    return first.end_lineno - first.lineno + 1 if is_docstring else 0  # type: ignore[operator]


# Imports -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", files(), ids=str)
def test_imports_go_one_way(path: Path) -> None:
    room, wrong = room_of(path), []
    for name, inside, line in imports(path):
        first = name.split(".")[0]
        if inside:
            allowed = first == room or first in INSIDE[room] or first not in INSIDE
        else:
            allowed = first in OUTSIDE[room] or first in sys.stdlib_module_names
        if not allowed:
            wrong.append(f"{path}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ["", *rooms()])
def test_no_permission_to_import_is_unused(room: str) -> None:
    used = {
        (name.split(".")[0], inside) for path in files() if room_of(path) == room for name, inside, _ in imports(path)
    }
    unused = {(other, True) for other in INSIDE[room]} | {(module, False) for module in OUTSIDE[room]}
    unused -= used
    assert not unused, f"{room or 'the root'} may import {sorted(unused)}, but does not (inside the package: True)"


def test_no_import_goes_round_in_a_circle() -> None:
    modules = {module_of(path): path for path in files()}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        targets = (name for name, inside, _ in imports(path, for_types=False) if inside)
        graph[module] = {
            found for name in targets if (found := name if name in modules else name.rpartition(".")[0]) in modules
        } - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


# Lengths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", files(), ids=str)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len((ROOT / path).read_text("utf-8").splitlines()) <= MAX_LINES
    long = [function.name for function in functions(path) if length(function) > MAX_FUNCTION]
    assert not long, f"{path}: {long} are longer than {MAX_FUNCTION} lines"


def test_files_of_tests_are_short() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / "tests").rglob("*.py")
    }
    assert {path for path, lines in found.items() if lines > MAX_LINES_OF_TESTS} == set()


def test_folders_are_small() -> None:
    counts = Counter(path.parent.as_posix() for path in files() if path.name != "__init__.py")
    large = {folder for folder, count in counts.items() if count > MAX_MODULES}
    assert large == set()


def test_function_lengths() -> None:
    """The middle function without its docstring, which lists arguments line by line; the long ones with it."""
    every = [function for path in files() for function in functions(path)]
    lengths = [length(function) for function in every]
    assert statistics.median(length(function) - docstring_length(function) for function in every) <= 6
    assert statistics.quantiles(lengths, n=10)[-1] <= 20


@pytest.mark.parametrize("path", [path for path in files() if room_of(path) == "nodes"], ids=str)
def test_nodes_are_thin(path: Path) -> None:
    """What a node does: convert, call, convert back. No loop, every input by its name."""
    for execute in (function for function in functions(path) if function.name == "execute"):
        assert execute.end_lineno - execute.body[0].lineno < 15, f"{path}:{execute.lineno} is long"  # type: ignore[operator]
        assert execute.args.kwarg is None, f"{path}:{execute.lineno} takes inputs that it does not name"
        loops = [node for node in ast.walk(execute) if isinstance(node, ast.For | ast.While)]
        assert not loops, f"{path}:{execute.lineno} has a loop"


# Form ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in files() if room_of(path) not in ("cli", "demo", *TOOLS)], ids=str)
def test_nothing_inside_prints(path: Path) -> None:
    calls = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not prints, f"{path} prints in lines {prints}; use logging"


@pytest.mark.parametrize("path", files(), ids=str)
def test_every_function_is_typed(path: Path) -> None:
    bare = []
    for node in functions(path):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if untyped or node.returns is None:
            bare.append(f"{path}:{node.lineno} {node.name}({', '.join(untyped)})")
    assert not bare, "\n".join(bare)


def tool_settings() -> dict[str, Any]:
    """The tables ``[tool.*]`` of pyproject.toml."""
    tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # which pytest needs there, too
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]


def test_packages_of_the_wheel_are_all_there() -> None:
    settings = tool_settings()["setuptools"]
    folders = {ROOT} | {path.parent for room in PACKAGE for path in (ROOT / room).rglob("__init__.py")}
    names = {".".join(["wan_lite", *folder.relative_to(ROOT).parts]) for folder in folders}
    # The training scripts of the demo stay in the repository.
    assert set(settings["packages"]) == {name for name in names if not name.startswith("wan_lite.demo.train")}


def test_types_and_lint_of_imports_cover_every_room() -> None:
    settings = tool_settings()
    assert {f"wan_lite.{room}" for room in rooms()} <= set(settings["mypy"]["packages"])
    excluded = settings["ruff"].get("extend-exclude", [])
    assert not {room for room in rooms() for pattern in excluded if pattern.startswith(room)}


# Costs ---------------------------------------------------------------------------------------------------------------


def fresh_python(code: str) -> str:
    """Output of ``code`` in a new interpreter outside of the repository."""
    run = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = set(json.loads(fresh_python("import sys, json, wan_lite; print(json.dumps([*sys.modules]))")))
    assert not loaded & {"torch", "numpy", "diffusers", "transformers", "matplotlib", "einops", "safetensors", "PIL"}


def test_importing_the_library_never_loads_what_only_peers_need() -> None:
    code = "import sys, json, wan_lite.models, wan_lite.samplers, wan_lite.pipeline; print(json.dumps([*sys.modules]))"
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
