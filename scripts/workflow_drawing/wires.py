"""Wires of a drawn workflow: those that would run behind a node are led around it, by the page's own reroutes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TITLE, SLOT = 30, 20
LANE, CLEARANCE, AROUND = 14, 8, 11
FAR, LONG = 60, 300
"""A curve that climbs further swings out of the gap between two columns."""
STEPS_OF_CURVE = 40
CURVE_PULL = 0.25  # of the distance between a wire's ends: how far its curve leaves them horizontally


@dataclass(frozen=True)
class Rectangle:
    """A part of the canvas, in its own units."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, point: tuple[float, float], margin: float = 0.0) -> bool:
        """Whether a point lies within it, or nearer to it than ``margin``."""
        x, y = point
        return self.left - margin < x < self.right + margin and self.top - margin < y < self.bottom + margin


@dataclass(frozen=True)
class Wire:
    """A link with the places of its two ends, and the columns in which they stand."""

    number: int
    source: tuple[int, int]
    start: tuple[float, float]
    end: tuple[float, float]
    columns: tuple[int, int]
    nodes: tuple[int, int]
    is_from_folded: bool = False

    @property
    def is_forward(self) -> bool:
        """Whether it ends in a column further right; those that do not have the fewest lanes to choose from."""
        return self.columns[0] < self.columns[1]


@dataclass
class Routes:
    """The reroutes of a workflow; the wires of one output share lanes."""

    rectangles: dict[int, Rectangle]
    gaps: list[tuple[float, float]]
    reroutes: list[dict[str, Any]] = field(default_factory=list)
    parents: dict[int, int] = field(default_factory=dict)
    lanes: dict[tuple[tuple[int, int], range], float] = field(default_factory=dict)

    def lead(self, wires: list[Wire]) -> None:
        """Lead every wire that would run behind a node through a lane between the nodes."""
        for wire in sorted(wires, key=lambda wire: (wire.is_forward, wire.source, wire.columns[1], wire.end[1])):
            if self._is_hidden(wire):
                self._reroute(wire)

    def _is_hidden(self, wire: Wire) -> bool:
        if wire.is_from_folded:  # it starts in the middle of its column
            return True
        ends = {wire.nodes[0]: wire.start, wire.nodes[1]: wire.end}
        points = curve(wire.start, wire.end)
        for number, rectangle in self.rectangles.items():
            margin = -CLEARANCE if number in ends else 0.0
            if any(rectangle.holds(point, margin) for point in points):
                return True
        return False

    def _reroute(self, wire: Wire) -> None:
        """Up or down in the gap behind the first node, along a lane, and down or up in the gap before the second."""
        first, last = wire.columns[0] + 1, wire.columns[1]
        parent, y = None, wire.start[1]
        if not wire.is_from_folded or first != last:
            y = self._lane(wire)
        if wire.is_from_folded and (first <= last or abs(y - wire.start[1]) > FAR):
            parent = self._corner(wire, None, (self._place_in_gap(first, wire.source), wire.start[1]))
        if not wire.is_from_folded or first != last:
            parent = self._corner(wire, parent, (self._place_in_gap(first, wire.source), y))
            if first != last:
                parent = self._corner(wire, parent, (self._place_in_gap(last, wire.source), y))
        height = self.reroutes[parent - 1]["pos"][1] if parent else wire.end[1]
        if abs(height - wire.end[1]) > LONG:
            parent = self._corner(wire, parent, (self._place_in_gap(last, wire.source), wire.end[1]))
        if parent is not None:
            self.parents[wire.number] = parent

    def _lane(self, wire: Wire) -> float:
        """Return the height nearest to both ends at which nothing is in the way; an output keeps one that it has."""
        first, last = sorted((wire.columns[0] + 1, wire.columns[1]))
        across = range(first, last)  # the columns whose nodes it passes
        known = [y for (source, _), y in self.lanes.items() if source == wire.source and self._is_free(wire, y)]
        if known:
            return min(known, key=lambda y: abs(y - wire.start[1]) + abs(y - wire.end[1]))
        middle = (wire.start[1] + wire.end[1]) / 2
        heights = sorted(
            (middle + step * sign for step in range(0, 1500, 4) for sign in (1, -1)),
            key=lambda y: abs(y - wire.start[1]) + abs(y - wire.end[1]),
        )
        taken = [y for (_, other), y in self.lanes.items() if set(other) & set(across)]
        for y in heights:
            if y > TITLE and self._is_free(wire, y) and all(abs(y - other) >= LANE for other in taken):
                self.lanes[wire.source, across] = y
                return y
        raise ValueError(f"no lane for the wire from {wire.nodes[0]} to {wire.nodes[1]}.")

    def _is_free(self, wire: Wire, y: float) -> bool:
        first, last = sorted((wire.columns[0] + 1, wire.columns[1]))
        left, right = self.gaps[first][0], self.gaps[last][1]
        return not any(
            rectangle.right > left and rectangle.left < right
            and rectangle.top - AROUND < y < rectangle.bottom + AROUND
            for rectangle in self.rectangles.values()
        )  # fmt: skip

    def _place_in_gap(self, gap: int, source: tuple[int, int]) -> float:
        left, right = self.gaps[gap]
        shift = (3 * source[0] + source[1]) % 5 - 2
        return (left + right) / 2 + shift * (right - left) / 12

    def _corner(self, wire: Wire, parent: int | None, place: tuple[float, float]) -> int:
        """Add the wire to the reroute that its output already has at a place, or to a new one."""
        pos = [round(place[0]), round(place[1])]
        for reroute in self.reroutes:
            if reroute["pos"] == pos and reroute.get("parentId") == parent:
                reroute["linkIds"].append(wire.number)
                return int(reroute["id"])
        number = len(self.reroutes) + 1
        above = {} if parent is None else {"parentId": parent}
        self.reroutes.append({"id": number, **above, "pos": pos, "linkIds": [wire.number]})
        return number

    def extra(self) -> dict[str, Any]:
        """Return what stands in the workflow's ``extra``: nothing where no wire is led."""
        if not self.reroutes:
            return {}
        extensions = [{"id": number, "parentId": parent} for number, parent in sorted(self.parents.items())]
        return {"reroutes": self.reroutes, "linkExtensions": extensions}


def curve(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Return points of the curve that the page draws between an output and an input, without the first and last."""
    distance = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    pull = CURVE_PULL * distance
    xs, ys = (start[0], start[0] + pull, end[0] - pull, end[0]), (start[1], start[1], end[1], end[1])
    parts = [step / STEPS_OF_CURVE for step in range(1, STEPS_OF_CURVE)]
    return [(_bezier(xs, part), _bezier(ys, part)) for part in parts]


def _bezier(points: tuple[float, float, float, float], part: float) -> float:
    rest = 1 - part
    a, b, c, d = points
    return a * rest**3 + 3 * b * rest**2 * part + 3 * c * rest * part**2 + d * part**3
