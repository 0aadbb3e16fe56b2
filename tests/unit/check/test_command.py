"""``wan-lite check``: what is printed, exit codes, copies with changed values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from wan_lite.cli import main
from workflow_graphs import Graph, lightx2v, set_values, to_page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "good.json", lightx2v())
    write(tmp_path / "bad.json", set_values(lightx2v(), n3_shift=8))
    return tmp_path


def write(path: Path, graph: Graph, **layout: object) -> Path:
    path.write_text(json.dumps(graph, **layout), "utf-8")  # type: ignore[arg-type]
    return path


def test_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder / "good.json")]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert main(["check", str(folder / "bad.json")]) == 1
    assert main(["check", str(folder)]) == 1
    (folder / "broken.json").write_text("{")
    assert main(["check", str(folder)]) == 2
    assert main(["check", str(folder / "missing.json")]) == 2
    assert main(["check"]) == 2


def test_what_is_printed_names_numbers_source_and_remedy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(folder / "bad.json")])
    out = capsys.readouterr().out
    for part in ("[wrong] levels-differ at node 7", "0.8889", "source: ", "remedy: Set shift of node 3 to 5."):
        assert part in out


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.json").write_text("{")
    assert main(["check", str(folder), "--json"]) == 2
    files = {Path(file["path"]).name: file for file in json.loads(capsys.readouterr().out)["files"]}
    assert set(files) == {"good.json", "bad.json", "broken.json"}
    assert files["good.json"]["samplers"][0]["timesteps"] == pytest.approx([1000, 937.5, 2500 / 3, 625])
    assert [finding["id"] for finding in files["bad.json"]["findings"]] == ["levels-differ"]
    assert files["bad.json"]["findings"][0]["changes"] == [{"node": "3", "input": "shift", "value": 5}]
    assert "not JSON" in files["broken.json"]["error"]


@pytest.mark.parametrize("layout", [{}, {"indent": 4}, {"separators": (",", ":")}])
def test_fix_changes_nothing_but_the_values(folder: Path, layout: dict[str, object]) -> None:
    graph = to_page(set_values(lightx2v(cfg=7), n3_shift=8, n5_text='ein Füchslein: "{[,]}" 小狐狸'))
    before = write(folder / "page.json", graph, ensure_ascii=False, **layout).read_text("utf-8")
    assert main(["check", str(folder / "page.json"), "--fix", str(folder / "fixed.json")]) == 1
    after = (folder / "fixed.json").read_text("utf-8")
    assert main(["check", str(folder / "fixed.json")]) == 0
    wanted = json.loads(before)
    wanted["nodes"][2]["widgets_values"][0] = 5
    wanted["nodes"][6]["widgets_values"][3] = 1
    assert after == json.dumps(wanted, ensure_ascii=False, **layout)  # type: ignore[arg-type]


def test_a_copy_is_written_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    (folder / "fixed.json").write_text("an older copy")
    monkeypatch.setattr(Path, "write_bytes", write_half)
    assert main(["check", str(folder / "bad.json"), "--fix", str(folder / "fixed.json")]) == 2
    assert (folder / "fixed.json").read_text() == "an older copy"
    assert {path.name for path in folder.iterdir()} == {"good.json", "bad.json", "fixed.json"}


def test_fix_of_an_image_keeps_its_pixels_and_other_texts(folder: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", json.dumps(to_page(set_values(lightx2v(), n3_shift=8))))
    texts.add_text("note", "mine")
    image = Image.effect_noise((16, 16), 50)
    image.save(folder / "image.png", pnginfo=texts)
    assert main(["check", str(folder / "image.png"), "--fix", str(folder / "fixed.png")]) == 1
    with Image.open(folder / "fixed.png") as fixed:
        assert fixed.tobytes() == image.tobytes()
        assert fixed.info["note"] == "mine"
    assert main(["check", str(folder / "fixed.png")]) == 0
    assert main(["check", str(folder / "image.png"), "--fix", str(folder / "fixed.json")]) == 1
    assert main(["check", str(folder / "fixed.json")]) == 0


def test_what_cannot_be_mended_is_left_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = set_values(lightx2v(cfg=4), n8_vae_name="wan2.2_vae.safetensors")
    before = write(folder / "vae.json", graph, indent=1).read_text("utf-8")
    assert main(["check", str(folder / "vae.json"), "--fix", str(folder / "fixed.json")]) == 1
    assert "by hand: vae-mismatch at node 9" in capsys.readouterr().err
    assert (folder / "fixed.json").read_text("utf-8") == before.replace('"cfg": 4', '"cfg": 1')


def test_fix_takes_one_file(folder: Path) -> None:
    assert main(["check", str(folder), "--fix", str(folder / "out.json")]) == 2


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--explain", "shift-ineffective"]) == 0
    assert "branch" in capsys.readouterr().out
    assert main(["check", "--explain", "nothing"]) == 2
