"""What a download of Wan holds besides the video model: its VAE and its text encoder, in any of the usual layouts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .umt5_files import is_text_encoder_file

__all__ = ["TeacherFiles", "find_teacher"]

_VAE_NAMES = ("Wan2.1_VAE.pth", "Wan2.2_VAE.pth", "wan_2.1_vae.safetensors", "wan2.2_vae.safetensors")


@dataclass(frozen=True)
class TeacherFiles:
    """Where the teacher's VAE and text encoder lie; None where the folder has none."""

    vae: Path | None
    text_encoder: Path | None


def find_teacher(folder: str | os.PathLike[str]) -> TeacherFiles:
    """Find the VAE and the text encoder of a downloaded Wan.

    Args:
        folder: The official download (``Wan2.1_VAE.pth``, ``models_t5_umt5-xxl-enc-bf16.pth``, ``google/umt5-xxl``), a
            diffusers repository (``vae/``, ``text_encoder/``, ``tokenizer/``), or ComfyUI's ``models`` folder or any
            folder with ComfyUI's single files in it or one level below.

    Raises:
        ValueError: It is not a folder, or holds neither of the two.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"teacher {folder}: is not a folder; give the folder of a Wan download.")
    found = TeacherFiles(_find_vae(folder), _find_text_encoder(folder))
    if found == TeacherFiles(None, None):
        raise ValueError(
            f"teacher {folder}: holds no Wan VAE and no umT5 text encoder; give the official folder "
            f"({_VAE_NAMES[0]}, models_t5_umt5-xxl-enc-bf16.pth), a diffusers folder (vae, text_encoder) or ComfyUI's "
            "models folder."
        )
    return found


def _find_vae(folder: Path) -> Path | None:
    if (folder / "vae" / "config.json").is_file():
        return folder / "vae"
    return _find_first(_list_files(folder), lambda path: path.name in _VAE_NAMES)


def _find_text_encoder(folder: Path) -> Path | None:
    if (folder / "text_encoder" / "config.json").is_file():
        return folder
    single = _find_first(_list_files(folder), is_text_encoder_file)
    if single is None and (folder / "config.json").is_file() and (folder / "tokenizer_config.json").is_file():
        return folder
    return single


def _list_files(folder: Path) -> list[Path]:
    """List the files of a folder and of the folders in it, by name, the folder's own first."""
    return [path for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern)) if path.is_file()]


def _find_first(paths: Iterable[Path], is_wanted: Callable[[Path], bool]) -> Path | None:
    return next(filter(is_wanted, paths), None)
