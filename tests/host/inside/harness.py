"""For the check_* functions, in ComfyUI's own interpreter: the pack as the host loads it, nodes run as the host does.

No pytest here: plain asserts. Start-up is the host's own (server object, built-in nodes, then this pack), so that what
the pack registers has something to register with.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

_LOOP = asyncio.new_event_loop()
_NEXT_ID = itertools.count(1)
_BASE: list[Path] = []
NEWER_NODES = ("EmptyARVideoLatent", "Ideogram4Scheduler")
"""Nodes of core that the oldest supported ComfyUI does not have yet."""
PROCESSOR_SECONDS: dict[str, float] = {}
"""What the start of this process cost: ``the whole start``, and each file or folder of nodes by its name."""


class Absent(Exception):
    """What a check is about is not in this ComfyUI yet."""


class Outputs(tuple):  # type: ignore[type-arg]
    """What a node returned, as a tuple, with what it showed in ``ui``."""

    ui: dict[str, Any]

    def __new__(cls, values: Any, ui: dict[str, Any] | None = None) -> Outputs:
        outputs = super().__new__(cls, values)
        outputs.ui = ui or {}
        return outputs


def start_host(comfyui: str, base: str) -> None:
    """Bring up ComfyUI in this process with this pack only. Called once, by the worker."""
    sys.path.insert(0, comfyui)
    import comfy.options

    comfy.options.enable_args_parsing()
    importlib.import_module("utils.extra_config")  # as main.py does: nodes.py puts comfy/utils.py before this package
    import nodes  # ComfyUI's own
    import server
    import torch

    torch.set_num_threads(1)
    asyncio.set_event_loop(_LOOP)
    server.PromptServer(_LOOP)
    _note_processor_time(nodes)
    _LOOP.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))
    PROCESSOR_SECONDS["the whole start"] = time.process_time()
    _BASE.append(Path(base))


def _note_processor_time(nodes: ModuleType) -> None:
    """From now on, keep what the import of each custom node costs."""
    load = nodes.load_custom_node

    async def timed(module_path: str, *args: Any, **kwargs: Any) -> bool:
        began = time.process_time()
        loaded = await load(module_path, *args, **kwargs)
        PROCESSOR_SECONDS[Path(module_path).name] = time.process_time() - began
        return bool(loaded)

    nodes.load_custom_node = timed


def base() -> Path:
    """The ``--base-directory`` (models, input, output)."""
    return _BASE[0]


def vectors() -> Path:
    """Folder of the reference tensors."""
    return Path(__file__).resolve().parents[2] / "vectors"


def pack() -> ModuleType:
    """The pack's root module, as ComfyUI imported it (under a name made of its path)."""
    name = str(base() / "custom_nodes" / "wan-lite").replace(".", "_x_")
    return sys.modules[name]


def submodule(name: str) -> ModuleType:
    """A module of the pack by its dotted name, for instance ``"samplers.schedule"``."""
    import importlib

    return importlib.import_module(f"{pack().__name__}.{name}")


def node(node_id: str) -> Any:
    """A node's class, of the pack or of the core."""
    import nodes

    if node_id not in nodes.NODE_CLASS_MAPPINGS:
        _raise_reason_of_missing_nodes()
        ours = sorted(name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("WanLite"))
        raise LookupError(f"no node {node_id!r}; of the pack there are {ours}")
    return nodes.NODE_CLASS_MAPPINGS[node_id]


def is_absent(node_id: str) -> bool:
    """Whether this is a node of core that came after this ComfyUI; any other that is missing is an error."""
    import nodes

    return node_id in NEWER_NODES and node_id not in nodes.NODE_CLASS_MAPPINGS


def run(node_id: str, *, hidden: dict[str, Any] | None = None, **inputs: Any) -> Outputs:
    """Run one node as ComfyUI's executor does and return its outputs.

    Widgets that are not given take their default. As in a real run: inference mode, a locked copy of the class, hidden
    values (``hidden={"extra_pnginfo": ..., "prompt": ...}`` to set them). Inputs are not validated: that is for tests
    that go through the server.
    """
    import execution
    import torch
    from comfy_api.internal import _ComfyNodeInternal

    class_def = node(node_id)
    unique_id = str(next(_NEXT_ID))
    given = _defaults(class_def) | inputs
    values: dict[str, list[Any]] = {name: [value] for name, value in given.items()}
    v3_data = None
    if issubclass(class_def, _ComfyNodeInternal):
        v3_data = _v3_data(class_def, given, unique_id, hidden or {})
    instance = class_def()

    async def get_outputs() -> tuple[list[list[Any]], dict[str, Any]]:
        found = await execution.get_output_data(unique_id, unique_id, instance, values, v3_data=v3_data)
        if found[3]:
            answers = await execution.resolve_map_node_over_list_results(found[0])
            found = execution.get_output_from_returns(answers, class_def)
        return found[0], found[1]

    with torch.inference_mode():
        outputs, ui = _LOOP.run_until_complete(get_outputs())
    is_list = getattr(class_def, "OUTPUT_IS_LIST", None) or [False] * len(outputs)
    return Outputs((o if many else o[0] for o, many in zip(outputs, is_list)), ui)  # noqa: B905


def raises(
    kind: type[BaseException] | tuple[type[BaseException], ...], function: Any, *args: Any, **kwargs: Any
) -> str:
    """Assert that a call raises ``kind`` and return the message."""
    try:
        function(*args, **kwargs)
    except kind as error:
        return str(error)
    raise AssertionError(f"{function} raised nothing; expected {kind}")


def _defaults(class_def: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (kind, *options) in class_def.INPUT_TYPES().get("required", {}).items():
        settings = options[0] if options else {}
        choices = kind if isinstance(kind, list) else settings.get("options")
        if "default" in settings:
            found[name] = settings["default"]
        elif choices:
            found[name] = choices[0]
    return found


def _v3_data(class_def: Any, inputs: dict[str, Any], unique_id: str, hidden: dict[str, Any]) -> dict[str, Any]:
    from comfy_api.latest import _io

    _, _, v3_data = _io.get_finalized_class_inputs(class_def.INPUT_TYPES(), inputs)
    known = {"unique_id": unique_id, "prompt": {}, "extra_pnginfo": None} | hidden
    v3_data["hidden_inputs"] = {_io.Hidden[name]: value for name, value in known.items()}
    return dict(v3_data)


def _raise_reason_of_missing_nodes() -> None:
    """ComfyUI only logs why a pack gave no nodes; call the entry point again to get the real exception."""
    if str(base() / "custom_nodes" / "wan-lite").replace(".", "_x_") not in sys.modules:
        raise LookupError("ComfyUI did not import the pack at all")
    extension = _LOOP.run_until_complete(pack().comfy_entrypoint())
    _LOOP.run_until_complete(extension.get_node_list())
