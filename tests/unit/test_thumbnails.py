"""What is made from a workflow, without a page: which pictures, in which order, and what counts as another picture."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser.regenerate import Derived, looks_like, paths_for, pictures_of, thumbnail_of

PLACES = {10: [900, 50], 9: [900, 400], 2: [1300, 10], 4: [100, 900]}


def executed(node_id: int, kind: str = "output", count: int = 2) -> dict[str, Any]:
    """What the page hears when a node has shown its pictures."""
    images = [{"filename": f"{node_id}_{i}.png", "subfolder": "", "type": kind} for i in range(count)]
    return {"kind": "executed", "detail": {"node": str(node_id), "output": {"images": images}}}


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A workflow file whose nodes have places."""
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"nodes": [{"id": key, "pos": place} for key, place in PLACES.items()]}))
    return path


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Coarse colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("order", list(itertools.permutations((10, 9, 2))))
def test_pictures_come_as_they_stand_on_the_canvas_whatever_ran_first(order: tuple[int, ...], workflow: Path) -> None:
    """ComfyUI's order of output nodes differs from process to process."""
    events = [{"kind": "execution_start", "detail": {}}, *map(executed, order), executed(4, "temp")]
    names = [entry["filename"] for entry in pictures_of(events, workflow)]
    assert names == ["10_0.png", "10_1.png", "9_0.png", "9_1.png", "2_0.png", "2_1.png"]


def test_previews_count_where_nothing_is_saved(workflow: Path) -> None:
    events = [executed(9, "temp", 1), executed(4, "temp", 1)]
    assert [entry["filename"] for entry in pictures_of(events, workflow)] == ["4_0.png", "9_0.png"]


def test_last_digits_are_no_drift_but_one_other_picture_of_sixteen_is() -> None:
    pictures = [picture(seed) for seed in range(16)]
    shipped = thumbnail_of([png(image) for image in pictures])
    nudged = [Image.fromarray(np.asarray(image) ^ np.uint8(1)) for image in pictures]
    assert looks_like(shipped, thumbnail_of([png(image) for image in nudged]))
    assert not looks_like(shipped, thumbnail_of([png(image) for image in [*pictures[:9], picture(99), *pictures[10:]]]))
    assert not looks_like(shipped, thumbnail_of([png(image) for image in pictures[:15]]))


def test_drift_is_named_and_mended_by_writing(monkeypatch: pytest.MonkeyPatch, workflow: Path) -> None:
    monkeypatch.setattr("browser.regenerate.PACK", workflow.parent)
    derived = Derived("{}\n", thumbnail_of([png(picture(1))]))
    api, thumbnail = paths_for(workflow)
    assert derived.write(workflow) == [api, thumbnail] and derived.write(workflow) == [] == derived.drift(workflow)
    other = Derived('{"1": {}}\n', thumbnail_of([png(picture(2))]))
    said = other.drift(workflow)
    assert len(said) == 2 and all(sentence.endswith("run `make thumbnails`.") for sentence in said)
    assert "api/graph.json is not the API form" in said[0] and "graph.jpg is not a picture" in said[1]
