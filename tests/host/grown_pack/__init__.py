"""Stands in for the pack in a test: its own nodes, each with one more input at the end, as a later version has them."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from comfy_api.latest import io

VALUE = 7


async def comfy_entrypoint() -> object:
    """Return the pack's extension, its nodes grown."""
    root = Path(os.environ["WAN_LITE_PACK"])
    name = f"{__name__}_pack"
    spec = importlib.util.spec_from_file_location(name, root / "__init__.py", submodule_search_locations=[str(root)])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    extension = await sys.modules[name].comfy_entrypoint()
    own_list = extension.get_node_list

    async def get_node_list() -> list[Any]:
        return [grow(kind) for kind in await own_list()]

    extension.get_node_list = get_node_list
    return extension


def grow(kind: Any) -> Any:
    """Return a node with the input ``one_more`` appended by the pack's own function for inputs."""
    helpers = sys.modules[f"{__name__}_pack.nodes.host.schema"]

    class Grown(kind):
        @classmethod
        def define_schema(cls) -> io.Schema:
            found = super().define_schema()
            found.inputs.append(helpers.int_input("one_more", VALUE, (0, 9), "Of a later version.", advanced=True))
            return found

        @classmethod
        def execute(cls, *args: Any, one_more: int = VALUE, **inputs: Any) -> io.NodeOutput:
            assert one_more == VALUE
            return super().execute(*args, **inputs)

    Grown.__name__ = kind.__name__
    return Grown
