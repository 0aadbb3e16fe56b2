"""Measure every figure of the data card on the shipped weights and write ``demo/figures.json``.

``python -m wan_lite.demo.figures`` takes some minutes on one core; the tests check smaller samples.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..models.world import load_world
from ..models.world.world import World
from . import demo_file
from .measure import (
    action_share,
    clip,
    copy_psnr,
    demo_student,
    demo_vae,
    judge_share,
    one_step_psnr,
    other_contract,
    paint,
    recognised_share,
    right_share,
    rollout_psnr,
    tokenizer_psnr,
    vae_psnr,
)
from .run import probe_student

__all__ = ["main"]

FIGURES = Path(__file__).parent / "figures.json"
SAMPLES = 200
WORLDS = {
    "world": demo_file("world"),  # with scheduled sampling
    "world_plain": Path(__file__).parent / "train" / "comparison" / "world_plain.safetensors",  # not shipped
}


def picture_figures() -> dict[str, object]:
    """The VAE, the judge and the students."""
    vae = demo_vae()
    psnr = vae_psnr(vae, 360)
    figures: dict[str, object] = {
        "vae_psnr": _rounded(psnr.mean()),
        "vae_psnr_worst": _rounded(psnr.min()),
        "judge_on_training_pictures": judge_share(1000),
    }
    for name in ("ddim", "flow", "4ch"):
        student = demo_student(name)
        own, other = student.contract, other_contract(student)
        contracts = {"own": own, "wrong": other}
        if own.solver == "ddim":
            contracts["own_with_10_steps"] = replace(own, steps=10)
        for kind, contract in contracts.items():
            painted = paint(student, vae, SAMPLES, contract=contract)
            figures[f"student_{name}_{kind}"] = round(right_share(painted), 3)
            print(f"student_{name} {kind}: {figures[f'student_{name}_{kind}']}", flush=True)
    return figures


def probe_figures() -> dict[str, object]:
    """How often, of 20 seeds, the probe puts the right reading of a student's output first."""
    figures: dict[str, object] = {}
    for name in ("ddim", "flow", "4ch"):
        student = demo_student(name)
        found = [probe_student(student, seed).best.reading for seed in range(0, 20 * 100, 100)]
        figures[f"student_{name}_probe_of_20"] = found.count(student.contract.prediction)
        print(f"student_{name}: probe right in {figures[f'student_{name}_probe_of_20']} of 20", flush=True)
    return figures


def world_figures(world: World) -> dict[str, object]:
    """The tokenizer, one step ahead, the actions, and rollouts of 20 frames with both kinds of feedback."""
    ahead, repeated = one_step_psnr(world, 256)
    frames, actions = clip()
    frames, actions = frames[:, :22], actions[:, :21]
    figures: dict[str, object] = {
        "tokenizer_psnr": _rounded(tokenizer_psnr(world, 128).mean()),
        "one_step_psnr": _rounded(ahead),
        "copy_last_frame_psnr": _rounded(repeated),
        "actions_obeyed": round(action_share(world, 128), 3),
        "actions_recognised": round(recognised_share(world, 256), 3),
        "rollout_psnr_copy": [_rounded(value) for value in copy_psnr(frames, 2)],
    }
    for feedback in ("pixels", "tokens"):
        curve = rollout_psnr(world, frames, actions, feedback)
        figures[f"rollout_psnr_{feedback}"] = [_rounded(value) for value in curve]
    return figures


def _rounded(value: float | Tensor) -> float:
    return round(float(value), 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("pictures", "worlds"), help="measure one half, keep the other as it is")
    options = parser.parse_args(arguments)
    started = time.process_time()
    figures = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    if options.only != "worlds":
        figures |= picture_figures() | probe_figures()
    if options.only != "pictures":
        for name, path in WORLDS.items():
            if path.is_file():
                figures[name] = world_figures(load_world(path))
                print(json.dumps(figures[name]), flush=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"wrote {FIGURES} after {time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
