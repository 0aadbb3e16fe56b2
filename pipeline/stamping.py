"""Writing contracts into files: a student's own, a LoRA, a published checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange

from ..models.contract_files import list_contract_files, read_contract, stamp
from ..models.known_students import KnownStudents
from ..models.known_students.find import FoundContract, find_by_names
from ..models.known_students.stamping import is_lora, stamp_published
from ..models.metadata import rewrite_metadata
from ..models.student import fit_contract, load_student
from ..models.student.preview import PREVIEW_KEY, PreviewColours, fit_preview_colours
from ..models.text_files import read_text
from ..models.wan_vae import load_wan_vae
from ..samplers.contract import PRESETS, SamplingContract
from ..samplers.formatting import format_contract
from .contracts import choose_alternative, find_preset
from .generation import check_vae

__all__ = ["stamp_known", "stamp_preview", "stamp_student"]

_PREVIEW_IMAGES, _PREVIEW_SIDE, _PREVIEW_PATCHES = 48, 64, 4


def stamp_student(
    path: str | os.PathLike[str],
    preset: str | None,
    file: str | os.PathLike[str] | None,
    changes: Mapping[str, Any],
    *,
    replace_existing: bool = False,
) -> tuple[Path, SamplingContract]:
    """Write a contract into the header of a student's weights and return the file and what was written.

    Args:
        path: The student's file or folder; with ``file`` also a LoRA.
        preset: The name of a preset; None where ``file`` is given.
        file: A JSON file; None where ``preset`` is given.
        changes: Fields set on top.
        replace_existing: Whether another contract that is there already may go.

    Raises:
        ValueError: The student, the preset or the file cannot be read, or there is another contract already and
            ``replace_existing`` is False.
    """
    own = None if file is None else SamplingContract.from_json(read_text(Path(file)), origin=Path(file).name)
    if own is not None and Path(path).suffix == ".safetensors" and is_lora(path):
        wanted = replace(own.with_changes(**changes), source="declared")
        _check_existing(Path(path), wanted, replace_existing)
        return stamp_published(path, wanted), wanted
    student = load_student(path, preset=next(iter(PRESETS)))
    base = own or find_preset(preset or "", student)
    wanted = fit_contract(base.with_changes(**changes), student.config, student.vae_channels)
    wanted = replace(wanted, latent=base.latent or wanted.latent, source="declared")
    _check_existing(Path(path), wanted, replace_existing)
    return stamp(path, wanted), wanted


def stamp_known(
    path: str | os.PathLike[str],
    student: str | None,
    students: KnownStudents,
    *,
    alternative: int = 0,
    replace_existing: bool = False,
) -> tuple[Path, SamplingContract]:
    """Write a known student's contract into the header of its LoRA or checkpoint; return the file and the contract.

    Args:
        path: A ``.safetensors`` file.
        student: The id of a known student; None takes what the file's name says.
        students: All of them.
        alternative: The number of the contract's alternative to write instead.
        replace_existing: Whether another contract that is there already may go.

    Raises:
        ValueError: The name says nothing or several things, no contract can say how the student is sampled, the file
            cannot be stamped, or it has another contract and ``replace_existing`` is False.
    """
    path = Path(path)
    role = students.recognise(path).role
    if student is None:
        found = find_by_names([path], students)
    elif student in students.students:
        found = FoundContract(students.students[student].contract(role), student, students.students[student])
    else:
        raise ValueError(f"known is {student!r}; known students are {', '.join(students.students)}.")
    wanted = replace(choose_alternative(found.require(), alternative), source="declared")
    _check_existing(path, wanted, replace_existing)
    return stamp_published(path, wanted), wanted


@torch.no_grad()
def stamp_preview(
    path: str | os.PathLike[str], vae_path: str | os.PathLike[str], *, replace_existing: bool = False
) -> tuple[Path, PreviewColours]:
    """Write the colours of live previews, fitted to a VAE, into the header of a student's weights.

    Without them a host shows a student in the colours of the published VAE, which are wrong for any other.

    Args:
        path: The student's file or folder.
        vae_path: Of the VAE that decodes what it samples.
        replace_existing: Whether colours that are there already may go.

    Returns:
        The file that was written, and the colours: those that come nearest, by least squares, to images of random
        patches of colour as the VAE encodes them.

    Raises:
        ValueError: The student or the VAE cannot be read, the two do not fit each other, the student's weights are not
            a safetensors file, or there are other colours already and ``replace_existing`` is False.
    """
    student, vae = load_student(path, preset=next(iter(PRESETS))), load_wan_vae(vae_path)
    check_vae(student, vae)
    files = [file for file in list_contract_files(path) if file.is_file() and file.suffix == ".safetensors"]
    if not files:
        raise ValueError(f"{student.source}: is not a .safetensors file, and only those have a header to write into.")
    if student.preview is not None and not replace_existing:
        raise ValueError(f"{files[0].name}: has preview colours already; --replace replaces them.")
    draw = torch.Generator().manual_seed(0)
    patches = torch.rand(_PREVIEW_IMAGES, 3, _PREVIEW_PATCHES, _PREVIEW_PATCHES, generator=draw) * 2 - 1
    pixels = F.interpolate(patches, size=_PREVIEW_SIDE, mode="nearest")
    latents = rearrange(vae.encode(rearrange(pixels, "b c h w -> b c 1 h w")), "b c 1 h w -> b c h w")
    colours = fit_preview_colours(student.to_vae_latent(student.from_vae_latent(latents)), pixels)
    rewrite_metadata(files[0], {PREVIEW_KEY: colours.to_json()})
    return files[0], colours


def _check_existing(path: Path, wanted: SamplingContract, replace_existing: bool) -> None:
    existing = read_contract(path) if path.exists() else None
    is_other = existing is not None and existing.source == "declared" and existing != wanted
    if existing is not None and is_other and not replace_existing:
        raise ValueError(f"{path.name}: has a contract already ({format_contract(existing)}); --replace replaces it.")
