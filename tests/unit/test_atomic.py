"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wan_lite.atomic import replacing


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "neuer Ordner" / "bild ü.png"
    with replacing(target) as part:
        assert part.suffix == ".part"  # which no list of images or models shows, should the program be killed
        part.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as part:
        part.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_keeps_its_permissions_and_a_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "a.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    with replacing(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "new") as part:
        part.write_text("new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_impossible_place_names_the_path_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "a.txt", tmp_path):
        with pytest.raises(OSError, match=r"Not a directory|File exists|Is a directory") as raised, replacing(target):
            pass
        assert raised.value.filename == os.fspath(target)


def test_what_a_killed_writer_leaves_is_in_no_list_of_models(tmp_path: Path) -> None:
    code = "import os, sys; from wan_lite.atomic import replacing\nwith replacing(sys.argv[1]): os._exit(1)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "student.safetensors")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".") and left.suffix not in (".safetensors", ".pth", ".pt", ".bin", ".sft", ".ckpt")
