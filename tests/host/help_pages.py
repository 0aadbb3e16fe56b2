"""The parts of the nodes' help pages that are made from the nodes: the tables of inputs and outputs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from host.server import PACK

DOCS = PACK / "web" / "docs"
ENGLISH = PACK / "locales" / "en" / "nodeDefs.json"
CHINESE = PACK / "locales" / "zh" / "nodeDefs.json"
FILES = {"student_name", "vae_name", "name", "world_name", "actions_name", "dynamics_name"}
"""Inputs whose choices are the user's files."""


def page_of(node_id: str) -> Path:
    """The help page that ComfyUI shows for a node, in any language that has none of its own."""
    return DOCS / f"{node_id}.md"


def english_page_of(node_id: str) -> Path:
    """Where an English page looks first: the same page once more, or each look would leave a 404 in the console."""
    return DOCS / node_id / "en.md"


def chinese_page_of(node_id: str) -> Path:
    """The help page that a Chinese ComfyUI shows."""
    return DOCS / node_id / "zh.md"


def chinese_texts() -> dict[str, Any]:
    """The nodes' texts in Chinese, by node id."""
    return dict(json.loads(CHINESE.read_text("utf-8")))


def inputs_of(info: dict[str, Any]) -> dict[str, tuple[Any, dict[str, Any], bool]]:
    """Every input of a node by name: its type, its options, whether it may stay unconnected."""
    found = {}
    for part in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(part, {}).items():
            found[name] = (kind, options[0] if options else {}, part == "optional")
    return found


@dataclass(frozen=True)
class Words:
    """What the tables say in one language beside the nodes' own texts."""

    inputs: tuple[str, str] = ("input", "what it does")
    outputs: tuple[str, str] = ("output", "what it is")
    default: str = "default"
    may_be_empty: str = "may be empty"
    no_outputs: str = "None: it writes a file into ComfyUI's output folder."
    file: str = "a file or folder from the list"
    to: str = "to"
    text: str = "text"
    yes: str = "yes"
    no: str = "no"
    yes_or_no: str = "yes or no"
    empty: str = "empty"


ENGLISH_WORDS = Words()
CHINESE_WORDS = Words(
    ("输入", "作用"), ("输出", "说明"), "默认", "可以不接", "没有：它把文件写入 ComfyUI 的 output 文件夹。",
    "列表中的文件或文件夹", "到", "文本", "是", "否", "是或否", "空",
)  # fmt: skip


def input_table(info: dict[str, Any], words: Words, tooltips: dict[str, str]) -> str:
    """Markdown, for a narrow panel: every input with what it takes and where it begins, and its tooltip."""
    rows = [f"| {words.inputs[0]} | {words.inputs[1]} |", "|---|---|"]
    for name, (kind, settings, optional) in inputs_of(info).items():
        said = [f"**{name}**", _taken(name, kind, settings, words)]
        if "default" in settings:
            said.append(f"{words.default} {_text(settings['default'], words)}")
        elif optional:
            said.append(words.may_be_empty)
        rows.append(f"| {'<br>'.join(said)} | {_cell(tooltips[name])} |")
    return "\n".join(rows)


def output_table(info: dict[str, Any], words: Words, tooltips: list[str]) -> str:
    """Markdown: every output with its type and its tooltip."""
    if not info["output"]:
        return words.no_outputs
    rows = [f"| {words.outputs[0]} | {words.outputs[1]} |", "|---|---|"]
    for name, kind, tooltip in zip(info["output_name"], info["output"], tooltips, strict=True):
        said = f"**{name}**" if name == kind else f"**{name}**<br>{kind}"
        rows.append(f"| {said} | {_cell(tooltip or '')} |")
    return "\n".join(rows)


def with_tables(page: str, info: dict[str, Any], chinese: dict[str, Any] | None = None) -> str:
    """A help page with its two tables as the node is now; everything else is left as it was written.

    Args:
        page: in English, or in Chinese where ``chinese`` is given.
        info: the node, as ``/object_info`` describes it.
        chinese: its entry in ``locales/zh/nodeDefs.json``.
    """
    words, texts = (CHINESE_WORDS, chinese) if chinese else (ENGLISH_WORDS, english_texts(info))
    tooltips = {name: entry["tooltip"] for name, entry in texts["inputs"].items()}
    outputs = [entry["tooltip"] for entry in texts["outputs"].values()]
    tables = (("inputs", input_table(info, words, tooltips)), ("outputs", output_table(info, words, outputs)))
    for mark, table in tables:
        pattern = re.compile(rf"(<!-- {mark} -->\n).*?(\n<!-- /{mark} -->)", re.DOTALL)
        if len(pattern.findall(page)) != 1:
            raise ValueError(f"the page needs exactly one pair of <!-- {mark} --> and <!-- /{mark} -->.")
        page = pattern.sub(partial(_fill, table), page)
    return page


def _fill(table: str, found: re.Match[str]) -> str:
    return found[1] + table + found[2]


def _taken(name: str, kind: Any, settings: dict[str, Any], words: Words) -> str:
    if name in FILES:
        return words.file
    if isinstance(kind, list) or kind == "COMBO":
        return ", ".join(f"`{choice}`" for choice in (kind if isinstance(kind, list) else settings["options"]))
    if kind in ("INT", "FLOAT"):
        return f"{_text(settings['min'], words)} {words.to} {_text(settings['max'], words)}"
    return {"STRING": words.text, "BOOLEAN": words.yes_or_no}.get(kind, str(kind))


def _text(value: Any, words: Words) -> str:
    if isinstance(value, bool):
        return words.yes if value else words.no
    if isinstance(value, int | float):
        return "2^64 - 1" if value == 2**64 - 1 else f"{value:.10g}"
    return " / ".join(_value(line) for line in str(value).splitlines()) or words.empty


def _value(line: str) -> str:
    """A path as text, which may be broken at its slashes, anything else as code, which the page never breaks."""
    return _breakable(line) if "/" in line else f"`{line}`"


def _breakable(text: str) -> str:
    return re.sub(r"(?<=\w)/(?=\w)", "/<wbr>", text)


def _cell(text: str) -> str:
    return _breakable(text.replace("|", "\\|").replace("\n", " "))


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
