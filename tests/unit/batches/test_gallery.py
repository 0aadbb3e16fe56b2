"""Sheets and the page over a manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from wan_lite.batches.gallery.page import write_page
from wan_lite.batches.gallery.sheets import make_sheets
from wan_lite.batches.manifest import FAILED, Manifest, Record, describe_file
from wan_lite.cli import main


def fill(folder: Path, count: int, *, prompt: str = "a <b>red</b> ball") -> Path:
    """Rows by sampler and shift, each with an image of its own colour; the last one failed."""
    folder.mkdir(exist_ok=True)
    with Manifest(folder, count + 1) as manifest:
        for i in range(count):
            Image.new("RGB", (200, 100), (i * 20 % 256, 0, 100)).save(folder / f"{i}.png")
            values = {"sampler": ("ddim", "flow-unipc")[i % 2], "shift": str((1, 10, 3)[i // 2 % 3]), "prompt": prompt}
            about = {"seed": i, "seconds": 0.1, "contract": {"solver": "ddim", "steps": 4}}
            manifest.add(Record(i, f"{i:024x}", "done", (describe_file(folder, f"{i}.png"),), values, "", about))
        manifest.add(Record(count, f"{count:024x}", FAILED, (), {"sampler": "ddim"}, "no </script> model"))
    return folder


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r"const data = (.*)\n", page.read_text("utf-8"))
    assert found is not None
    content: dict[str, object] = json.loads(found[1])
    return content


def test_a_sheet_has_a_row_for_each_value_in_order(tmp_path: Path) -> None:
    sheets = list(make_sheets(fill(tmp_path / "sweep", 6), "shift", "sampler", cell=64))
    assert [title for title, _ in sheets] == ["sweep: shift down, sampler across"]
    image = sheets[0][1]
    found = [colour for _, colour in sorted(image.getcolors(1 << 20), reverse=True) if colour[2] == 100]
    assert len({colour for colour in found if colour[1] == 0}) == 6


def test_images_that_share_a_place_go_to_further_sheets(tmp_path: Path) -> None:
    assert len(list(make_sheets(fill(tmp_path / "sweep", 12), "shift", "sampler", cell=32))) == 2


def test_what_cannot_be_a_sheet_is_said(tmp_path: Path) -> None:
    folder = fill(tmp_path / "sweep", 2)
    with pytest.raises(ValueError, match="no column 'sampel'"):
        list(make_sheets(folder, "sampel", "shift"))
    with pytest.raises(ValueError, match="is not there"):
        list(make_sheets(tmp_path, "sampler", "shift"))
    (folder / "1.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"1\.png: is not an image"):
        list(make_sheets(folder, "sampler", "shift"))


def test_the_page_holds_every_row_and_nothing_that_runs(tmp_path: Path) -> None:
    folder = fill(tmp_path / "sweep", 4)
    assert write_page(folder, folder / "index.html") == 5
    text = (folder / "index.html").read_text("utf-8")
    assert text.count("</script>") == 1
    data = data_of(folder / "index.html")
    assert data["columns"] == ["solver", "steps", "seed", "sampler", "shift", "prompt"]
    items = data["items"]
    assert isinstance(items, list)
    assert items[4]["error"] == "no </script> model" and "image" not in items[4]
    assert items[1]["file"] == "1.png" and items[1]["values"]["shift"] == "1"


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fill(tmp_path / "sweep", 4)
    assert main(["sheet", str(folder), "--rows-by", "sampler", "--columns-by", "shift", "--cell", "32"]) == 0
    assert {path.name for path in folder.iterdir()} >= {"sheet.png", "index.html"}
    assert main(["sheet", str(folder), "--rows-by", "sampler"]) == 2
    assert "both --rows-by and --columns-by" in capsys.readouterr().err
