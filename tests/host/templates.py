"""ComfyUI's own workflow templates, as installed with it, and what is recorded of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host.comfyui import ComfyUI
from wan_lite.check.graph.node_table import find_type

RECORDED_VALUES = (
    "Sampler",
    "Scheduler",
    "Sigmas",
    "ModelSampling",
    "Loader",
    "Guider",
    "Latent",
    "Noise",
    "Primitive",
)
"""Parts of the names of nodes whose widget values are recorded as well."""


def find_templates(comfyui: ComfyUI) -> list[Path]:
    """Return the templates' workflow files by name (the package also holds indices)."""
    found = sorted(comfyui.python.parents[1].glob("**/comfyui_workflow_templates_json/templates/*.json"))
    return [path for path in found if not path.name.startswith(("index", "fuse_options"))]


def digest(content: Any) -> str:
    """Return the first 16 hexadecimal digits of a hash of JSON content."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return the same of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def links_of(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Return node id -> [class, links] of a graph in API form."""
    return {
        key: [node["class_type"], {name: value for name, value in node["inputs"].items() if is_link(value)}]
        for key, node in prompt.items()
    }


def values_of(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Return node id -> widget values, of the nodes of the engine's table that have to do with sampling."""
    return {
        key: {name: plain(value) for name, value in node["inputs"].items() if not is_link(value)}
        for key, node in prompt.items()
        if any(part in (node["class_type"] or "") for part in RECORDED_VALUES) and find_type(node["class_type"])
    }


def plain(value: Any) -> Any:
    """Return a number in one form: the page writes 4.0 as 4."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_link(value: Any) -> bool:
    """Whether an input's value is a link."""
    return isinstance(value, list)
