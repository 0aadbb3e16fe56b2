"""What belongs to a shipped workflow and is made from it: its API form, and a thumbnail of its own output."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageChops

from browser.page import ComfyPage
from host.client import Client
from host.server import PACK

WORKFLOWS = PACK / "workflows"
THUMBNAIL_SIZE = 384
THUMBNAIL_BYTES = 60_000
MOST_PICTURES = 16
MOST_FRAMES = 8
CELL = 16
TOLERANCE = 8  # threads and load change nothing; AVX2 or SSE4 for AVX-512: at most 4; two like pictures swapped: 15
PICTURE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".gif")


Item = TypeVar("Item")


@dataclass(frozen=True)
class Derived:
    """What was made from one workflow by loading and running it in the page."""

    api: str
    thumbnail: bytes

    def write(self, workflow: Path) -> list[Path]:
        """Put both beside the workflow; returns the files whose content changed."""
        changed = []
        api, thumbnail = paths_for(workflow)
        api.parent.mkdir(exist_ok=True)
        if not api.is_file() or api.read_text("utf-8") != self.api:
            api.write_text(self.api, "utf-8")
            changed.append(api)
        if not thumbnail.is_file() or not looks_like(thumbnail.read_bytes(), self.thumbnail):
            thumbnail.write_bytes(self.thumbnail)
            changed.append(thumbnail)
        return changed

    def drift(self, workflow: Path) -> list[str]:
        """Say for each of the two shipped files how it differs from what its workflow gives now."""
        api, thumbnail = paths_for(workflow)
        found = []
        if not api.is_file() or api.read_text("utf-8") != self.api:
            found.append(f"{api.relative_to(PACK)} is not the API form of {workflow.name}")
        if not thumbnail.is_file() or not looks_like(thumbnail.read_bytes(), self.thumbnail):
            found.append(f"{thumbnail.relative_to(PACK)} is not a picture of what {workflow.name} makes")
        elif thumbnail.stat().st_size > THUMBNAIL_BYTES:
            found.append(f"{thumbnail.relative_to(PACK)} is larger than {THUMBNAIL_BYTES} bytes")
        return [f"{sentence}; run `make thumbnails`." for sentence in found]


def shipped_workflows() -> list[Path]:
    """Every workflow of the template browser."""
    return sorted(WORKFLOWS.glob("*.json"))


def needs_download(workflow: Path) -> bool:
    """Whether a workflow names models that the user has to download: it opens everywhere, but cannot run here."""
    return any(node.get("properties", {}).get("models") for node in json.loads(workflow.read_text("utf-8"))["nodes"])


def paths_for(workflow: Path) -> tuple[Path, Path]:
    """The API form and the thumbnail that belong to a workflow."""
    return workflow.parent / "api" / workflow.name, workflow.with_suffix(".jpg")


def derive(page: ComfyPage, client: Client, workflow: Path) -> tuple[Derived, list[dict[str, Any]]]:
    """Load a workflow in the page by dropping it, run it there, and return what is made from it, and the events."""
    page.drop(workflow)
    api = json.dumps(page.api_graph(), indent=2, ensure_ascii=False) + "\n"
    events = page.run()
    return Derived(api, thumbnail_of([client.view(entry) for entry in pictures_of(events, workflow)])), events


def derive_without_run(page: ComfyPage, workflow: Path) -> Derived:
    """Load a workflow whose models are not here: its API form, and its thumbnail, at first a picture of the graph."""
    page.drop(workflow)
    api = json.dumps(page.api_graph(), indent=2, ensure_ascii=False) + "\n"
    thumbnail = paths_for(workflow)[1]
    if thumbnail.is_file():
        return Derived(api, thumbnail.read_bytes())
    graph = Image.open(io.BytesIO(page.picture_of_graph())).convert("RGB")
    graph.thumbnail((2 * THUMBNAIL_SIZE, 2 * THUMBNAIL_SIZE))
    file = io.BytesIO()
    graph.save(file, "JPEG", quality=80, optimize=True)
    return Derived(api, file.getvalue())


def pictures_of(events: list[dict[str, Any]], workflow: Path) -> list[dict[str, str]]:
    """The picture files that a run saved, or where there are none, those that it previewed.

    They come in the order in which their nodes stand on the canvas, column by column from the left, each from its top:
    ComfyUI runs output nodes in the order of a Python set of strings, which is another one in each of its processes.
    """
    places = {str(node["id"]): tuple(node["pos"]) for node in json.loads(workflow.read_text("utf-8"))["nodes"]}
    entries = [entry for _, entry in sorted(shown_pictures(events), key=lambda shown: places[shown[0]])]
    return [entry for entry in entries if entry["type"] == "output"] or entries


def shown_pictures(events: list[dict[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """(node id, file) of every picture that a run reported."""
    return [
        (str(event["detail"]["node"]), entry)
        for event in events
        if event["kind"] == "executed"
        for entry in (event["detail"].get("output") or {}).get("images", [])
        if entry["filename"].lower().endswith(PICTURE_SUFFIXES)
    ]


def thumbnail_of(files: list[bytes]) -> bytes:
    """A JPEG of up to sixteen of the pictures, each whole, in the rows that show them largest in a square.

    Their sides count, not their areas: one large picture must not leave only stamps of the others.
    """
    pictures = evenly([frame for data in files for frame in frames_of(data)], MOST_PICTURES)
    if not pictures:
        raise ValueError("the run reported no picture")
    ends = range(len(pictures), 0, -1)
    sheets = [scaled(in_rows(pictures, sum(map(aspect, pictures[:end])))) for end in ends]
    rows = max(
        sheets, key=lambda rows: sum(math.sqrt(picture.width * picture.height) for row in rows for picture in row)
    )
    sheet = Image.new("RGB", (THUMBNAIL_SIZE, sum(row[0].height for row in rows)), "#171717")
    top = 0
    for row in rows:
        left = (THUMBNAIL_SIZE - sum(picture.width for picture in row)) // 2
        for picture in row:
            sheet.paste(picture, (left, top))
            left += picture.width
        top += row[0].height
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=85, optimize=True)
    return file.getvalue()


def frames_of(data: bytes) -> list[Image.Image]:
    """A picture, or up to eight frames of an animation."""
    file, frames = Image.open(io.BytesIO(data)), []
    for number in evenly(range(getattr(file, "n_frames", 1)), MOST_FRAMES):
        file.seek(number)
        frames.append(file.convert("RGB"))
    return frames


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly chosen, with the first and the last."""
    count = min(len(items), most)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]


def aspect(picture: Image.Image) -> float:
    """Width over height."""
    return picture.width / picture.height


def in_rows(pictures: list[Image.Image], widest: float) -> list[list[Image.Image]]:
    """The pictures in their order, each row as long as its aspects add up to at most ``widest``."""
    rows: list[list[Image.Image]] = []
    for picture in pictures:
        if rows and sum(map(aspect, rows[-1])) + aspect(picture) <= widest + 1e-6:
            rows[-1].append(picture)
        else:
            rows.append([picture])
    return rows


def scaled(rows: list[list[Image.Image]]) -> list[list[Image.Image]]:
    """Each row as wide as the thumbnail where that fits a square; rows that begin with the same size stay alike."""
    alike: dict[tuple[int, int], float] = {}
    for row in rows:
        height = THUMBNAIL_SIZE / sum(map(aspect, row))
        alike[row[0].size] = min(height, alike.get(row[0].size, height))
    shrink = min(1.0, THUMBNAIL_SIZE / sum(alike[row[0].size] for row in rows))
    return [[resized(picture, alike[row[0].size] * shrink) for picture in row] for row in rows]


def resized(picture: Image.Image, height: float) -> Image.Image:
    """The picture at another height; small pictures keep their pixels visible."""
    size = (max(1, round(height * aspect(picture))), max(1, round(height)))
    return picture.resize(size, Image.Resampling.NEAREST if height > 2 * picture.height else Image.Resampling.LANCZOS)


def looks_like(one: bytes, other: bytes) -> bool:
    """Tell whether two pictures are the same but for compression and the last digits of another machine."""
    first, second = (Image.open(io.BytesIO(data)).convert("RGB") for data in (one, other))
    return first.size == second.size and distance(first, second) <= TOLERANCE


def distance(first: Image.Image, second: Image.Image) -> int:
    """How far the most different 16x16 pixels of two pictures of one size are apart on average, in steps of 1/255."""
    return int(np.asarray(ImageChops.difference(first, second).reduce(CELL)).max())
