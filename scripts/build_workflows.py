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

from workflow_drawing.wires import Rectangle, Routes, Wire

from host.client import Client
from host.comfyui import find_comfyui
from host.server import PACK, Server, make_base

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
CONTROLS = "control_after_generate"
GAP_X, GAP_Y, FOLDED_GAP, LANE_ROOM, TITLE, SLOT, HEADING = 36, 58, 46, 14, 30, 20, 50
SHOW_IMAGES = ("LoadImage", "PreviewImage", "SaveAnimatedWEBP", "SaveImage", "SaveVideo")
SHOWN_LINES = {"WanLiteStudentLoader": 5}
"""Lines that a node shows under its widgets once it has run, one fact each."""
SHOWN_LINE, SHOWN_MARGIN = 17, 24
MARGIN, TITLE_FONT = 15, 14
GROUP_COLOUR, SAMPLING_COLOUR, YOURS_COLOUR = "#3f789e", "#8A8", "#b58b2a"
SMALLEST_PAGE = (1280, 720)
PANELS = {"left": 72, "top": 94, "right": 12, "bottom": 60}
"""What the page's own side bar, tabs, buttons and tools cover of it."""
SMALLEST_SCALE, LARGEST_SCALE = 0.575, 0.8
"""Below the first, the page's canvas draws no text at all."""


@dataclass(frozen=True)
class Box:
    """One node: its type, what its widgets say, and where its inputs come from.

    Args:
        key: What links call it; ``key`` is its first output, ``key.1`` its second.
        type: Node id.
        title: What stands above it.
        widgets: Values that differ from the defaults, by name.
        links: The output that each input takes.
        height: Of the node; None takes that of its slots and widgets.
        models: Files to download: name -> (address, folder below models).
        id: Its number in the file; None takes the next. API forms name nodes by it.
        folded: Only its title is drawn.
    """

    key: str
    type: str
    title: str
    widgets: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    height: int | None = None
    models: dict[str, tuple[str, str]] = field(default_factory=dict)
    id: int | None = None
    folded: bool = False


@dataclass(frozen=True)
class Group:
    """Nodes below one another under a heading.

    Args:
        title: The heading; its number is put before it.
        boxes: From top to bottom.
        is_yours: Whether this is where the user's own image or file goes.
        above: Room for wires between the heading and the first node.
    """

    title: str
    boxes: list[Box]
    is_yours: bool = False
    above: int = 0


@dataclass(frozen=True)
class Plan:
    """A workflow: the note on its left and columns of groups.

    Args:
        name: Of its files.
        note: Markdown without inline code, which the page's newer renderer draws blue on the note's brown.
        columns: From left to right.
        note_title: What stands above the note.
        note_size: Width and height.
        width: Of each column's nodes; one number for all, or one for each.
        has_rows: Whether the groups of all columns begin at the same heights.
    """

    name: str
    note: str
    columns: list[list[Group]]
    note_title: str = "What this is"
    note_size: tuple[int, int] = (450, 500)
    width: int | tuple[int, ...] = 310
    has_rows: bool = False


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
        ValueError: A value is given for an input that the node has not.
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
    """Room for the slots, the widgets and texts of several lines, and for what the newer renderer writes below."""
    declared = declared_inputs(info).values()
    sockets = sum(not is_widget(kind, settings) for kind, settings, _ in declared)
    widgets = len(widget_values(info, box))
    texts = sum(bool(settings.get("multiline")) for _, settings, _ in declared)
    images = 230 if box.type in SHOW_IMAGES else 0
    below = 40 if box.type.startswith("WanLite") else 16
    if box.type in SHOWN_LINES:
        below = SHOWN_MARGIN + SHOWN_LINE * SHOWN_LINES[box.type]
    return 10 + SLOT * max(sockets, len(info["output"])) + 24 * widgets + 60 * texts + images + below


class Drawing:
    """A workflow being put together.

    Raises:
        ValueError: The note has inline code, or the whole cannot be read in the smallest page.
    """

    def __init__(self, plan: Plan, known: dict[str, Any]) -> None:
        if "`" in plan.note:
            raise ValueError(f"{plan.name}: the note has inline code (`); make it bold.")
        self.plan, self.known = plan, known
        self.boxes = [box for column in plan.columns for group in column for box in group.boxes]
        self.ids = self._number()
        self.links: list[list[Any]] = []
        self.nodes: list[dict[str, Any]] = []
        self.groups: list[dict[str, Any]] = []
        self.column_of: dict[int, int] = {}

    def draw(self) -> dict[str, Any]:
        """The workflow as the page stores it."""
        self._link()
        self._draw_columns()
        note = {
            "id": 1, "type": "MarkdownNote", "pos": [0, 0], "size": list(self.plan.note_size), "flags": {},
            "order": 0, "mode": 0, "inputs": [], "outputs": [], "title": self.plan.note_title, "properties": {},
            "widgets_values": [self.plan.note], "color": "#432", "bgcolor": "#653",
        }  # fmt: skip
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"wan-lite/{self.plan.name}")),
            "revision": 0,
            "last_node_id": max(self.ids.values()),
            "last_link_id": len(self.links),
            "nodes": [note, *self.nodes],
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {"ds": self._view(), **self._routes().extra()},
            "version": 0.4,
        }

    def _number(self) -> dict[str, int]:
        numbers = {box.key: box.id for box in self.boxes if box.id is not None}
        free = iter(number for number in range(2, 200) if number not in numbers.values())
        return {box.key: numbers.get(box.key) or next(free) for box in self.boxes}

    def _link(self) -> None:
        for box in self.boxes:
            sockets = self._sockets(box)
            for name, source in box.links.items():
                key, _, slot = source.partition(".")
                start = next(other for other in self.boxes if other.key == key)
                kind = self.known[start.type]["output"][int(slot or 0)]
                end = [len(self.links) + 1, self.ids[key], int(slot or 0), self.ids[box.key], sockets.index(name), kind]
                self.links.append(end)

    def _sockets(self, box: Box) -> list[str]:
        declared = declared_inputs(self.known[box.type]).items()
        return [name for name, (kind, settings, _) in declared if not is_widget(kind, settings)]

    def _widths(self) -> list[int]:
        width = self.plan.width
        return [width] * len(self.plan.columns) if isinstance(width, int) else list(width)

    def _draw_columns(self) -> None:
        """Place every group; with rows, the groups of one row begin at one height."""
        widths, columns = self._widths(), self.plan.columns
        starts = [self.plan.note_size[0] + GAP_X + MARGIN]
        for width in widths[:-1]:
            starts.append(starts[-1] + width + 2 * MARGIN + GAP_X)
        tops = [0.0] * len(columns)
        for row in range(max(map(len, columns))):
            for number, column in enumerate(columns):
                if row < len(column):
                    tops[number] = self._draw_group(column[row], number, (starts[number], tops[number]), widths[number])
            if self.plan.has_rows:
                tops = [max(tops)] * len(columns)

    def _check_title(self, box: Box, width: int) -> None:
        most = int(width / (TITLE_FONT * 0.6))
        if not box.folded and len(box.title) > most:
            raise ValueError(
                f"{self.plan.name}: the title {box.title!r} makes its node wider than {width}; take at most {most} "
                "letters."
            )

    def _draw_group(self, group: Group, column: int, place: tuple[float, float], width: int) -> float:
        """Draw a group whose heading is at ``place``; returns where the next may begin."""
        x, top = place
        keys = {box.key for box in group.boxes}
        y = top + HEADING + TITLE + group.above
        for box in group.boxes:
            y += LANE_ROOM * len(keys & {link.split(".")[0] for link in box.links.values()})
            self._check_title(box, width)
            height = box.height or height_of(self.known[box.type], box)
            self.nodes.append(self._node(box, [x, y], [width, height]))
            self.column_of[self.ids[box.key]] = column
            bottom = y if box.folded else y + height
            y += FOLDED_GAP if box.folded else height + GAP_Y
        has_sampler = any("Sampler" in box.type and "Loader" not in box.type for box in group.boxes)
        colour = YOURS_COLOUR if group.is_yours else SAMPLING_COLOUR if has_sampler else GROUP_COLOUR
        numbered = [id(one) for groups in self.plan.columns for one in groups].index(id(group)) + 1
        self.groups.append(
            {
                "id": numbered,
                "title": f"{numbered}  {group.title}",
                "bounding": [x - MARGIN, top, width + 2 * MARGIN, bottom + MARGIN - top],
                "color": colour,
                "font_size": 24,
                "flags": {},
            }
        )
        return bottom + MARGIN + 25

    def _node(self, box: Box, position: list[float], size: list[float]) -> dict[str, Any]:
        info, own = self.known[box.type], self.ids[box.key]
        arriving = {link[4]: link[0] for link in self.links if link[3] == own}
        declared, inputs = declared_inputs(info), []
        for slot, name in enumerate(self._sockets(box)):
            kind, _, optional = declared[name]
            inputs.append({"name": name, "type": kind, "link": arriving.get(slot)} | ({"shape": 7} if optional else {}))
        outputs = [
            {"name": name, "type": kind, "links": self._leaving(own, slot)}
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
        flags = {"collapsed": True} if box.folded else {}
        return {
            "id": own, "type": box.type, "pos": position, "size": size, "flags": flags, "order": own - 1, "mode": 0,
            "inputs": inputs, "outputs": outputs, "title": box.title, "properties": properties,
            "widgets_values": widget_values(info, box),
        }  # fmt: skip

    def _leaving(self, node: int, slot: int) -> list[int] | None:
        return [number for number, start, start_slot, *_ in self.links if (start, start_slot) == (node, slot)] or None

    def _routes(self) -> Routes:
        """Lead the wires around the nodes."""
        rectangles = {node["id"]: rectangle_of(node) for node in self.nodes}
        lefts = [min(rectangles[node].left for node, at in self.column_of.items() if at == column)
                 for column in range(len(self.plan.columns))]  # fmt: skip
        rights = [left + width for left, width in zip(lefts, self._widths(), strict=True)]
        gaps = list(zip([self.plan.note_size[0], *rights], [*lefts, rights[-1] + GAP_X], strict=True))
        routes = Routes(rectangles, gaps)
        routes.lead([self._wire(link) for link in self.links])
        return routes

    def _wire(self, link: list[Any]) -> Wire:
        number, source, output, target, socket, _ = link
        nodes = {node["id"]: node for node in self.nodes}
        return Wire(
            number,
            (source, output),
            place_of(nodes[source], output, is_output=True),
            place_of(nodes[target], socket, is_output=False),
            (self.column_of[source], self.column_of[target]),
            (source, target),
            bool(nodes[source]["flags"]),
        )

    def _view(self) -> dict[str, Any]:
        """Scale and place at which all of it lies inside the smallest page, free of the page's own panels."""
        right = max(group["bounding"][0] + group["bounding"][2] for group in self.groups)
        bottom = max([*(g["bounding"][1] + g["bounding"][3] for g in self.groups), self.plan.note_size[1]])
        free = (
            SMALLEST_PAGE[0] - PANELS["left"] - PANELS["right"],
            SMALLEST_PAGE[1] - PANELS["top"] - PANELS["bottom"],
        )
        scale = round(min(LARGEST_SCALE, free[0] / right, free[1] / (bottom + TITLE)), 3)
        if scale < SMALLEST_SCALE:
            most = [round(side / SMALLEST_SCALE) for side in free]
            raise ValueError(
                f"{self.plan.name} takes {right:.0f}x{bottom + TITLE:.0f} units, and nothing above {most[0]}x{most[1]} "
                f"can be read in a page of {SMALLEST_PAGE[0]}x{SMALLEST_PAGE[1]}; fold nodes or lay them out closer."
            )
        return {"scale": scale, "offset": [round(PANELS["left"] / scale), round(PANELS["top"] / scale) + TITLE]}


def rectangle_of(node: dict[str, Any]) -> Rectangle:
    """A node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return Rectangle(x, y - TITLE, x + width, y if node["flags"].get("collapsed") else y + height)


def place_of(node: dict[str, Any], slot: int, *, is_output: bool) -> tuple[float, float]:
    """Where a wire leaves or reaches a node."""
    (x, y), (width, _) = node["pos"], node["size"]
    height = y - TITLE / 2 if node["flags"].get("collapsed") else y + SLOT * (slot + 0.7)
    return (x + width if is_output else x, height)


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
