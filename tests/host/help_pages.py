"""The parts of the nodes' help pages that are made from the nodes: the tables of inputs and outputs."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from host.server import PACK

DOCS = PACK / "web" / "docs"
ENGLISH = PACK / "locales" / "en" / "nodeDefs.json"
FILES = {"student_name", "vae_name", "name", "world_name", "actions_name", "dynamics_name"}
"""Inputs whose choices are the user's files."""


def page_of(node_id: str) -> Path:
    """The help page that ComfyUI shows for a node, in any language that has none of its own."""
    return DOCS / f"{node_id}.md"


def english_page_of(node_id: str) -> Path:
    """Where an English page looks first: the same page once more, or each look would leave a 404 in the console."""
    return DOCS / node_id / "en.md"


def inputs_of(info: dict[str, Any]) -> dict[str, tuple[Any, dict[str, Any], bool]]:
    """Every input of a node by name: its type, its options, whether it may stay unconnected."""
    found = {}
    for part in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(part, {}).items():
            found[name] = (kind, options[0] if options else {}, part == "optional")
    return found


def input_table(info: dict[str, Any]) -> str:
    """Markdown, for a narrow panel: every input with what it takes and where it begins, and its tooltip."""
    rows = ["| input | what it does |", "|---|---|"]
    for name, (kind, settings, optional) in inputs_of(info).items():
        said = [f"**{name}**", _taken(name, kind, settings)]
        if "default" in settings:
            said.append(f"default {_text(settings['default'])}")
        elif optional:
            said.append("may be empty")
        rows.append(f"| {'<br>'.join(said)} | {_cell(settings['tooltip'])} |")
    return "\n".join(rows)


def output_table(info: dict[str, Any]) -> str:
    """Markdown: every output with its type and its tooltip."""
    if not info["output"]:
        return "None: it writes a file into ComfyUI's output folder."
    rows = ["| output | what it is |", "|---|---|"]
    tooltips = info.get("output_tooltips") or [""] * len(info["output"])
    for name, kind, tooltip in zip(info["output_name"], info["output"], tooltips, strict=True):
        said = f"**{name}**" if name == kind else f"**{name}**<br>{kind}"
        rows.append(f"| {said} | {_cell(tooltip or '')} |")
    return "\n".join(rows)


def with_tables(page: str, info: dict[str, Any]) -> str:
    """A help page with its two tables as the node is now; everything else is left as it was written."""
    for mark, table in (("inputs", input_table(info)), ("outputs", output_table(info))):
        pattern = re.compile(rf"(<!-- {mark} -->\n).*?(\n<!-- /{mark} -->)", re.DOTALL)
        if len(pattern.findall(page)) != 1:
            raise ValueError(f"the page needs exactly one pair of <!-- {mark} --> and <!-- /{mark} -->.")
        page = pattern.sub(partial(_fill, table), page)
    return page


def _fill(table: str, found: re.Match[str]) -> str:
    return found[1] + table + found[2]


def _taken(name: str, kind: Any, settings: dict[str, Any]) -> str:
    if name in FILES:
        return "a file or folder from the list"
    if isinstance(kind, list) or kind == "COMBO":
        return ", ".join(f"`{choice}`" for choice in (kind if isinstance(kind, list) else settings["options"]))
    if kind in ("INT", "FLOAT"):
        return f"{_text(settings['min'])} to {_text(settings['max'])}"
    return {"STRING": "text", "BOOLEAN": "yes or no"}.get(kind, str(kind))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return "2^64 - 1" if value == 2**64 - 1 else f"{value:.10g}"
    return " / ".join(f"`{line}`" for line in str(value).splitlines()) or "empty"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def english_texts(info: dict[str, Any]) -> dict[str, Any]:
    """A node's entry in ``locales/en/nodeDefs.json``: what the node itself says, for translators to start from."""
    tooltips = info.get("output_tooltips") or [""] * len(info["output"])
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": {name: {"name": name, "tooltip": one["tooltip"]} for name, (_, one, _) in inputs_of(info).items()},
        "outputs": {
            str(slot): {"name": name, "tooltip": tooltip or ""}
            for slot, (name, tooltip) in enumerate(zip(info["output_name"], tooltips, strict=True))
        },
    }


def english_locale(ours: dict[str, Any]) -> str:
    """The text of ``locales/en/nodeDefs.json``; nodes keep their place in it, new ones come last."""
    order = [*(name for name in json.loads(ENGLISH.read_text("utf-8")) if name in ours), *ours]
    texts = {name: english_texts(ours[name]) for name in dict.fromkeys(order)}
    return json.dumps(texts, ensure_ascii=False, indent=2) + "\n"
