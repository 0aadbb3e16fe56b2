"""``make demo``: sample and play with the shipped weights and write everything to a folder, no ComfyUI needed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image

from ..models.student import Student
from ..models.wan_vae.vae import WanVAE
from ..models.world import RolloutConfig, World, diagnose, rollout
from ..pipeline.generation import decode_images
from ..pipeline.pictures.convert import to_pil, to_unit
from ..pipeline.pictures.diagnosis import compare_arms, draw_diagnosis_chart
from ..pipeline.pictures.layout import draw_labels, enlarge, make_contact_sheet, put_side_by_side
from ..pipeline.pictures.probe import draw_probe_chart, draw_probe_grid
from ..pipeline.probing import ProbeReport, probe
from ..samplers.contract import PRESETS, SamplingContract
from .captions import embed
from .classifier import classify
from .measure import (
    CLASSES,
    Sampled,
    load_demo_student,
    load_demo_vae,
    load_demo_video,
    load_demo_world,
    make_wrong_contract,
    sample_captions,
)
from .patterns import list_captions

__all__ = ["candidates", "main", "one_thread", "probe_student"]

SHOWN = 12  # captions on the sheet: two of each pattern
STUDENTS = ("flow", "ddim", "4ch")
STEPS = 20  # frames of the rollout
WINDOW = 2  # true frames before it


@dataclass(frozen=True)
class Row:
    """One row of the sheet: which student, sampled how, and what came of it."""

    title: str
    sampled: Sampled


def candidates(student: Student) -> dict[str, SamplingContract]:
    """Return the presets that the probe tries, at the student's own latent size."""
    latent = None if student.contract is None else student.contract.latent
    return {name: replace(preset, latent=latent) for name, preset in PRESETS.items()}


def probe_student(student: Student, seed: int = 0) -> ProbeReport:
    """Ask the probe how a student wants to be sampled, with four captions from the noise of ``seed`` on."""
    text = [embed(caption) for caption in list_captions()[::9]]
    side, channels = student.config.latent_size, student.config.num_channels
    return probe(
        lambda x, timestep: student.network(x, timestep, text),
        candidates(student),
        (len(text), channels, side, side),
        seed=seed,
        finish=student.to_vae_latent,
    )


def _sample_rows(name: str, student: Student, vae: WanVAE) -> list[Row]:
    """Sample every third caption with the student's own contract and with the other one, from the same noise."""
    contracts = {"its own contract": student.contract, "the wrong sampler": make_wrong_contract(student)}
    rows = []
    for kind, contract in contracts.items():
        sampled = sample_captions(student, vae, SHOWN, contract=contract, every=CLASSES // SHOWN)
        rows.append(Row(f"student_{name}, {kind} ({_name_contract(contract)})", sampled))
    return rows


def _name_contract(contract: SamplingContract | None) -> str:
    return (
        "none"
        if contract is None
        else f"{contract.solver}-{contract.steps} shift {contract.shift:g}, {contract.prediction}"
    )


def _draw_sheet(rows: Sequence[Row]) -> Image.Image:
    """Draw all rows under one another, each image below its caption, each row below what it is and what is right."""
    parts = []
    for row in rows:
        right = classify(row.sampled.pixels).agrees(row.sampled.colour, row.sampled.pattern)
        texts = list_captions()[:: CLASSES // SHOWN]
        images = enlarge(to_unit(rearrange(row.sampled.pixels, "b c h w -> b h w c")), 2)
        strip = make_contact_sheet(draw_labels(images, texts), columns=SHOWN)
        parts.append(draw_labels(strip, [f"{row.title}: {int(right.sum())} of {SHOWN} show their caption"]))
    return to_pil(make_contact_sheet(torch.cat(parts), columns=1)[0])


def _write_probe(name: str, student: Student, vae: WanVAE, folder: Path) -> str:
    """Write the probe's report, grid and chart for one student; return its first sentence."""
    report = probe_student(student)
    (folder / f"probe_{name}.txt").write_text(f"{report}\n")
    draw_probe_grid(report, lambda latent: decode_images(student, vae, latent)).save(folder / f"probe_{name}_grid.png")
    draw_probe_chart(report).save(folder / f"probe_{name}_chart.png")
    return report.sentence


def _write_rollout(world: World, path: Path) -> None:
    """Write a GIF: the true game above, the same actions imagined by the world below, from two true frames on."""
    truth, actions = load_demo_video()
    given = actions[:4, WINDOW - 1 : STEPS + WINDOW - 1].tolist()
    result = rollout(world, truth[:4, :WINDOW], steps=STEPS, actions=given, context_window=WINDOW)
    rows = []
    for name, frames in (("game", truth[:4, : STEPS + WINDOW]), ("imagined", result.frames)):
        unit = to_unit(rearrange(frames.clamp(-1, 1), "b t c h w -> b t h w c"))
        wide = put_side_by_side(torch.stack([enlarge(item, 5) for item in unit]))
        rows.append(draw_labels(wide, [f"{name}, frame {i}" for i in range(len(wide))]))
    images = [to_pil(frame) for frame in torch.cat(rows, dim=1)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=250, loop=0)


def _write_diagnosis(world: World, folder: Path) -> str:
    """Write the chart of the four arms and its numbers; return the sentence that names the cause."""
    frames, _ = load_demo_video()
    found = diagnose(world, frames[:4, : STEPS + WINDOW], config=RolloutConfig(context_window=WINDOW))
    draw_diagnosis_chart(found).save(folder / "diagnose_chart.png")
    rows = compare_arms(found)
    to_pil(make_contact_sheet(rows.flatten(0, 1), columns=rows.shape[1])[0]).save(folder / "diagnose_frames.png")
    (folder / "diagnose.txt").write_text(f"{found.report()}\n")
    return found.cause


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: networks this small gain nothing from more.

    Their operations take microseconds. On a busy machine the threads wait for each other after every one of them, and
    the demo took twelve times the CPU time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet of images, the probe's reports, a rollout and its diagnosis."""
    parser = argparse.ArgumentParser(prog="python -m wan_lite.demo", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    vae, students, world = load_demo_vae(), {name: load_demo_student(name) for name in STUDENTS}, load_demo_world()
    rows = [row for name, student in students.items() for row in _sample_rows(name, student, vae)]
    _draw_sheet(rows).save(folder / "pictures.png")
    for name, student in students.items():
        print(f"student_{name}, sampled by {_name_contract(student.contract)}")
        print(f"  probe: {_write_probe(name, student, vae, folder)}")
    _write_rollout(world, folder / "rollout.gif")
    print(f"world: {_write_diagnosis(world, folder)}")
    for path in sorted(folder.iterdir()):
        print(f"wrote {path}")
    print(f"in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
