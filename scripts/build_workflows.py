"""Write the workflows of ``workflow_plans``: nodes in columns, links by name, sizes by their widgets.

    python scripts/build_workflows.py [--object-info FILE] [NAME ...]

The slots and widgets of every node are those of a real ComfyUI (found as the tests find one), or of a saved answer of
its ``/object_info``. Afterwards ``make thumbnails`` makes the API forms and the pictures, as for every workflow.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from host.client import Client
from host.comfyui import find_comfyui
from host.server import PACK, Server, make_base

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
CONTROLS = "control_after_generate"
GAP_X, GAP_Y, TITLE = 50, 60, 30
MARGIN = 15
GROUP_COLOUR, SAMPLING_COLOUR = "#3f789e", "#8A8"
SMALLEST_PAGE, SIDE, TOP, BOTTOM = (1280, 720), 90, 110, 40
"""The view a workflow opens with: whole in the smallest page, beside the page's side bar and below its tabs."""


@dataclass(frozen=True)
class Box:
    """One node: its type, what its widgets say, and where its inputs come from.

    Args:
        key: what links call it; ``key`` is its first output, ``key.1`` its second.
        type: node id.
        title: what stands above it.
        widgets: values that differ from the defaults, by name.
        links: the output that each input takes.
        height: of the node; None takes that of its slots and widgets.
        models: files to download: name -> (address, folder below models).
    """

    key: str
    type: str
    title: str
    widgets: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    height: int | None = None
    models: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Nodes below one another under a heading."""

    title: str
    boxes: list[Box]


@dataclass(frozen=True)
class Plan:
    """A workflow: the note on its left and columns of groups."""

    name: str
    note: str
    columns: list[list[Group]]
    note_size: tuple[int, int] = (470, 600)
    width: int = 340


def declared_inputs(info: dict[str, Any]) -> dict[str, tuple[Any, dict[str, Any], bool]]:
    """Name -> (kind, settings, whether it may be left out) of each input in the order of the node."""
    found = {}
    for part in ("required", "optional"):
        for name, (kind, *rest) in info["input"].get(part, {}).items():
            found[name] = (kind, rest[0] if rest else {}, part == "optional")
    return found


def is_widget(kind: Any, settings: dict[str, Any]) -> bool:
    """Whether an input is a widget with a value, not a socket."""
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not settings.get("forceInput")


def default_of(kind: Any, settings: dict[str, Any]) -> Any:
    """The value that the page gives a new widget."""
    options = kind if isinstance(kind, list) else settings.get("options", [])
    if "default" in settings or not options:
        return settings.get("default", "")
    return options[0]["key"] if isinstance(options[0], dict) else options[0]


def widget_values(info: dict[str, Any], box: Box) -> list[Any]:
    """The values of a node's widgets in the order in which workflows store them.

    Raises:
        ValueError: a value is given for an input that the node has not.
    """
    declared, values = declared_inputs(info), []
    unknown = (set(box.widgets) | set(box.links)) - set(declared)
    if unknown:
        raise ValueError(
            f"{box.key} ({box.type}) has no input {', '.join(sorted(unknown))}; it has {', '.join(declared)}."
        )
    for name, (kind, settings, _) in declared.items():
        if is_widget(kind, settings):
            values.append(box.widgets.get(name, default_of(kind, settings)))
            if settings.get(CONTROLS):
                values.append("fixed")
            if settings.get("image_upload"):
                values.append("image")
    return values


def height_of(info: dict[str, Any], box: Box) -> int:
    """Room for the slots, the widgets and texts of several lines."""
    declared = declared_inputs(info).values()
    sockets = sum(not is_widget(kind, settings) for kind, settings, _ in declared)
    widgets = len(widget_values(info, box))
    texts = sum(bool(settings.get("multiline")) for _, settings, _ in declared)
    images = 300 if info["output_node"] and box.type in ("SaveImage", "PreviewImage", "SaveVideo") else 0
    return 14 + 20 * max(sockets, len(info["output"])) + 25 * widgets + 75 * texts + images


class Drawing:
    """A workflow being put together."""

    def __init__(self, plan: Plan, known: dict[str, Any]) -> None:
        self.plan, self.known = plan, known
        self.boxes = [box for column in plan.columns for group in column for box in group.boxes]
        self.ids = {box.key: number for number, box in enumerate(self.boxes, 2)}
        self.links: list[list[Any]] = []
        self.nodes: list[dict[str, Any]] = []
        self.groups: list[dict[str, Any]] = []

    def draw(self) -> dict[str, Any]:
        """The workflow as the page stores it."""
        self._link()
        x = self.plan.note_size[0] + GAP_X
        for column in self.plan.columns:
            self._draw_column(column, x)
            x += self.plan.width + GAP_X + 2 * MARGIN
        note = {
            "id": 1, "type": "MarkdownNote", "pos": [0, 0], "size": list(self.plan.note_size), "flags": {},
            "order": 0, "mode": 0, "inputs": [], "outputs": [], "title": "What this is", "properties": {},
            "widgets_values": [self.plan.note], "color": "#432", "bgcolor": "#653",
        }  # fmt: skip
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"wan-lite/{self.plan.name}")),
            "revision": 0,
            "last_node_id": len(self.boxes) + 1,
            "last_link_id": len(self.links),
            "nodes": [note, *self.nodes],
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {"ds": self._view()},
            "version": 0.4,
        }

    def _link(self) -> None:
        for box in self.boxes:
            sockets = self._list_sockets(box)
            for name, source in box.links.items():
                key, _, slot = source.partition(".")
                start = next(other for other in self.boxes if other.key == key)
                kind = self.known[start.type]["output"][int(slot or 0)]
                end = [len(self.links) + 1, self.ids[key], int(slot or 0), self.ids[box.key], sockets.index(name), kind]
                self.links.append(end)

    def _list_sockets(self, box: Box) -> list[str]:
        declared = declared_inputs(self.known[box.type]).items()
        return [name for name, (kind, settings, _) in declared if not is_widget(kind, settings)]

    def _draw_column(self, column: list[Group], x: float) -> None:
        y = 0.0
        for group in column:
            top = y
            y += 50 + TITLE
            for box in group.boxes:
                height = box.height or height_of(self.known[box.type], box)
                self.nodes.append(self._write_node(box, [x, y], [self.plan.width, height]))
                y += height + GAP_Y
            y -= GAP_Y - MARGIN
            has_sampler = any("Sampler" in box.type and "Loader" not in box.type for box in group.boxes)
            self.groups.append(
                {
                    "id": len(self.groups) + 1,
                    "title": f"{len(self.groups) + 1}  {group.title}",
                    "bounding": [x - MARGIN, top, self.plan.width + 2 * MARGIN, y - top],
                    "color": SAMPLING_COLOUR if has_sampler else GROUP_COLOUR,
                    "font_size": 24,
                    "flags": {},
                }
            )
            y += 25

    def _write_node(self, box: Box, position: list[float], size: list[float]) -> dict[str, Any]:
        info, own = self.known[box.type], self.ids[box.key]
        arriving = {link[4]: link[0] for link in self.links if link[3] == own}
        declared, inputs = declared_inputs(info), []
        for slot, name in enumerate(self._list_sockets(box)):
            kind, _, optional = declared[name]
            inputs.append({"name": name, "type": kind, "link": arriving.get(slot)} | ({"shape": 7} if optional else {}))
        outputs = [
            {"name": name, "type": kind, "links": self._list_leaving(own, slot)}
            for slot, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
        ]
        is_ours = box.type.startswith("WanLite")
        properties: dict[str, Any] = {
            "Node name for S&R": box.type,
            "cnr_id": "wan-lite" if is_ours else "comfy-core",
            "ver": "0.1.0" if is_ours else "0.33.0",
        }
        if box.models:
            entries = box.models.items()
            properties["models"] = [{"name": name, "url": url, "directory": folder} for name, (url, folder) in entries]
        return {
            "id": own, "type": box.type, "pos": position, "size": size, "flags": {}, "order": own - 1, "mode": 0,
            "inputs": inputs, "outputs": outputs, "title": box.title, "properties": properties,
            "widgets_values": widget_values(info, box),
        }  # fmt: skip

    def _list_leaving(self, node: int, slot: int) -> list[int] | None:
        return [number for number, start, start_slot, *_ in self.links if (start, start_slot) == (node, slot)] or None

    def _view(self) -> dict[str, Any]:
        """Scale and place at which all of it lies inside the smallest page, free of the page's own panels."""
        right = max(group["bounding"][0] + group["bounding"][2] for group in self.groups)
        bottom = max([*(g["bounding"][1] + g["bounding"][3] for g in self.groups), self.plan.note_size[1]])
        free = (SMALLEST_PAGE[0] - SIDE - 20, SMALLEST_PAGE[1] - TOP - BOTTOM)
        scale = round(min(0.8, free[0] / right, free[1] / bottom), 3)
        return {"scale": scale, "offset": [round(SIDE / scale), round(TOP / scale)]}


def fetch_object_info() -> dict[str, Any]:
    """What a real ComfyUI with this pack says of its nodes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(find_comfyui(), make_base(Path(folder) / "comfyui")) as server,
    ):
        return dict(Client(server).object_info())


def main() -> int:
    """Write the planned workflows; returns the exit code."""
    from workflow_plans import PLANS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="plans to write (default: all)")
    parser.add_argument("--object-info", type=Path, metavar="FILE", help="a saved answer of /object_info")
    options = parser.parse_args()
    saved = options.object_info
    known = json.loads(saved.read_text("utf-8")) if saved else fetch_object_info()
    for plan in PLANS:
        if not options.names or plan.name in options.names:
            path = PACK / "workflows" / f"{plan.name}.json"
            path.write_text(json.dumps(Drawing(plan, known).draw(), indent=1, ensure_ascii=False) + "\n", "utf-8")
            print(f"{path.relative_to(PACK)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
