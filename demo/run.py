"""``make demo``: paint and play with the shipped weights and write everything to a folder, no ComfyUI needed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image

from ..models.student import Student
from ..models.wan_vae import WanVAE
from ..models.world import World, rollout
from ..pipeline.frames import LABEL_HEIGHT, contact_sheet, enlarge, label, side_by_side, to_picture
from ..samplers.contract import SamplingContract
from .measure import CLASSES, Painted, clip, demo_student, demo_vae, demo_world, other_contract, paint
from .train.judge import judge
from .train.pictures import captions

__all__ = ["main"]

SHOWN = 12  # captions on the sheet: two of each pattern
STUDENTS = ("flow", "ddim", "4ch")
STEPS = 20  # frames of the rollout


@dataclass(frozen=True)
class Row:
    """One row of the sheet: which student, sampled how, and what came of it."""

    title: str
    painted: Painted


def describe(contract: SamplingContract) -> str:
    """A contract in a few words."""
    return f"{contract.solver}-{contract.steps}, {contract.prediction}, shift {contract.shift:g}"


def paint_rows(name: str, student: Student, vae: WanVAE) -> list[Row]:
    """Paint every third caption with the student's own contract and with the other one, from the same noise."""
    own, wrong = student.contract, other_contract(student)
    return [
        Row(f"student_{name}: its contract ({describe(own)})", _shown(student, vae, own)),
        Row(f"student_{name}: the wrong sampler ({describe(wrong)})", _shown(student, vae, wrong)),
    ]


def _shown(student: Student, vae: WanVAE, contract: SamplingContract | None) -> Painted:
    painted = paint(student, vae, CLASSES, contract=contract)
    rows = torch.arange(SHOWN) * (CLASSES // SHOWN)
    return Painted(painted.pixels[rows], painted.colour[rows], painted.pattern[rows])


def picture_sheet(rows: Sequence[Row]) -> Image.Image:
    """All rows under one another; above each picture its caption, before the row what it is and how much is right."""
    parts = []
    for row in rows:
        right = judge(row.painted.pixels).agrees(row.painted.colour, row.painted.pattern)
        texts = [captions()[i * (CLASSES // SHOWN)] for i in range(SHOWN)]
        images = enlarge(rearrange((row.painted.pixels + 1) / 2, "b c h w -> b h w c"), 2)
        strip = contact_sheet(label(images, texts), columns=SHOWN)
        parts.append(label(strip, [f"{row.title}: {int(right.sum())} of {SHOWN} show their caption"]))
    return to_picture(contact_sheet(torch.cat(parts), columns=1)[0])


def roll_out(world: World, path: Path) -> None:
    """Write a GIF: the true game, and the same actions imagined by the world, from two true frames on."""
    truth, actions = clip()
    result = rollout(world, truth[:4, :2], steps=STEPS, actions=actions[:4, 1 : STEPS + 1].tolist(), context_window=2)
    rows = []
    for name, frames in (("game", truth[:4, : STEPS + 2]), ("imagined", result.frames)):
        large = rearrange((frames.clamp(-1, 1) + 1) / 2, "b t c h w -> b t h w c")
        wide = side_by_side(torch.stack([enlarge(item, 5) for item in large]))
        rows.append(label(wide, [f"{name}, frame {i}" for i in range(len(wide))]))
    pictures = [to_picture(frame) for frame in torch.cat(rows, dim=1)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=250, loop=0)


def _sheet_height(rows: int) -> int:
    return rows * (128 + 2 * LABEL_HEIGHT)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet of pictures, the probe's report, a rollout and its diagnosis."""
    parser = argparse.ArgumentParser(prog="python -m wan_lite.demo", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    vae, students = demo_vae(), {name: demo_student(name) for name in STUDENTS}
    rows = [row for name, student in students.items() for row in paint_rows(name, student, vae)]
    picture_sheet(rows).save(options.out / "pictures.png")
    for name, student in students.items():
        print(f"student_{name}: contract {student.contract.to_json()}")
    roll_out(demo_world(), options.out / "rollout.gif")
    for path in sorted(options.out.iterdir()):
        print(f"wrote {path}")
    print(f"in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
