"""Measure every figure of the data card on the shipped weights: ``demo/figures.json`` and ``demo/rollout_psnr.png``.

``python -m wan_lite.demo.figures`` takes some minutes on one core; the tests check smaller samples.
``python -m wan_lite.demo.figures --only chart`` draws the chart again from the figures as they are written.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..atomic import replacing
from ..models.world import RolloutConfig, World
from ..pipeline.pictures.charts import Axes, draw_line_chart
from ..pipeline.pictures.convert import save_image
from .free_play import POLICIES, measure_free_play, play_freely
from .measure import (
    get_contract,
    load_demo_student,
    load_demo_vae,
    load_demo_video,
    load_demo_world,
    make_few_step_contracts,
    make_wrong_contract,
    measure_accuracy,
    measure_classifier,
    measure_copy_psnr,
    measure_obedience,
    measure_one_step_psnr,
    measure_recognition,
    measure_rollout_psnr,
    measure_tokenizer_psnr,
    measure_vae_psnr,
    sample_captions,
)
from .run import one_thread, probe_student

__all__ = ["FIGURES", "draw_rollout_chart", "main"]

FIGURES = Path(__file__).parent / "figures.json"
CHART = Path(__file__).parent / "rollout_psnr.png"
SAMPLES = 200
CONTEXT, AHEAD = 2, 20  # frames of a rollout: given and predicted
FREE_SEEDS, FREE_FRAMES = 20, 300
FREE_PLAY = RolloutConfig(maskgit_steps=4)  # how a page plays


def measure_images() -> dict[str, object]:
    """Measure the VAE, the classifier and the students."""
    vae = load_demo_vae()
    psnr = measure_vae_psnr(vae, 360)
    figures: dict[str, object] = {
        "vae_psnr": _round(psnr.mean()),
        "vae_psnr_worst": _round(psnr.min()),
        "classifier_on_training_images": measure_classifier(1000),
    }
    for name in ("ddim", "flow", "4ch"):
        student = load_demo_student(name)
        own, other = get_contract(student), make_wrong_contract(student)
        contracts = {"own": own, "wrong": other}
        if own.solver == "ddim":
            contracts["own_with_10_steps"] = replace(own, steps=10)
        for kind, contract in contracts.items():
            sampled = sample_captions(student, vae, SAMPLES, contract=contract)
            figures[f"student_{name}_{kind}"] = round(measure_accuracy(sampled), 3)
            print(f"student_{name} {kind}: {figures[f'student_{name}_{kind}']}", flush=True)
    return figures


def measure_four_steps() -> dict[str, object]:
    """Measure the four-step student by its own contract and by others."""
    vae, student = load_demo_vae(), load_demo_student("4step")
    figures: dict[str, object] = {}
    for kind, contract in make_few_step_contracts(student).items():
        share = measure_accuracy(sample_captions(student, vae, SAMPLES, contract=contract))
        figures[f"student_4step_{kind}"] = round(share, 3)
        print(f"student_4step {kind}: {share:.3f}", flush=True)
    return figures


def measure_probe() -> dict[str, object]:
    """Count for how many of 20 seeds the probe puts the right prediction type of a student first."""
    figures: dict[str, object] = {}
    for name in ("ddim", "flow", "4ch"):
        student = load_demo_student(name)
        found = [probe_student(student, seed).best.prediction for seed in range(0, 20 * 100, 100)]
        figures[f"student_{name}_probe_of_20"] = found.count(get_contract(student).prediction)
        print(f"student_{name}: probe right in {figures[f'student_{name}_probe_of_20']} of 20", flush=True)
    return figures


def measure_world(world: World) -> dict[str, object]:
    """Measure tokenizer, one step ahead, actions, rollouts of 20 frames with both kinds of feedback, and free play."""
    ahead, repeated = measure_one_step_psnr(world, 256)
    frames, actions = load_demo_video()
    frames, actions = frames[:, : CONTEXT + AHEAD], actions[:, : CONTEXT + AHEAD - 1]
    figures: dict[str, object] = {
        "tokenizer_psnr": _round(measure_tokenizer_psnr(world, 128).mean()),
        "one_step_psnr": _round(ahead),
        "copy_last_frame_psnr": _round(repeated),
        "actions_obeyed": round(measure_obedience(world, 128), 3),
        "actions_recognised": round(measure_recognition(world, 256), 3),
        "rollout_psnr_copy": [_round(value) for value in measure_copy_psnr(frames, CONTEXT)],
    }
    for feedback in ("pixels", "tokens"):
        curve = measure_rollout_psnr(world, frames, actions, feedback, CONTEXT)
        figures[f"rollout_psnr_{feedback}"] = [_round(value) for value in curve]
    for policy in POLICIES:
        found = measure_free_play(play_freely(world, policy, FREE_SEEDS, FREE_FRAMES, FREE_PLAY))
        figures[f"free_play_{policy}"] = {name: round(share, 4) for name, share in found.items()}
    return figures


def _round(value: float | Tensor) -> float:
    return round(float(value), 2)


def draw_rollout_chart(figures: Mapping[str, Any]) -> Image.Image:
    """Draw PSNR over the frames of a rollout: the world with each feedback, and the last frame repeated.

    Raises:
        ValueError: The figures lack those of the shipped world.
    """
    if "world" not in figures:
        raise ValueError("figures hold no 'world'; measure it: python -m wan_lite.demo.figures --only worlds")
    series = {
        f"{feedback} fed back": _number_points(figures["world"][f"rollout_psnr_{feedback}"])
        for feedback in ("pixels", "tokens")
    }
    series["last true frame repeated"] = _number_points(figures["world"]["rollout_psnr_copy"])
    title = "How near a rollout stays to the truth, by what is fed back"
    return draw_line_chart(series, Axes(title, "predicted frame", "PSNR in dB"))


def _number_points(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return points at the predicted frames, counted from 1."""
    return [(float(number), value) for number, value in enumerate(values, 1)]


@one_thread()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(prog="python -m wan_lite.demo.figures", description=main.__doc__)
    parts = ("images", "four_steps", "worlds", "chart")
    parser.add_argument("--only", choices=parts, help="measure one part, keep the others as they are written")
    only = parser.parse_args(arguments).only
    started = time.process_time()
    figures = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    if only in (None, "images"):
        figures |= measure_images() | measure_probe()
    if only in (None, "four_steps"):
        figures |= measure_four_steps()
    if only in (None, "worlds"):
        figures["world"] = measure_world(load_demo_world())
        print(json.dumps(figures["world"]), flush=True)
    if only != "chart":
        with replacing(FIGURES) as part:
            part.write_text(json.dumps(figures, indent=1) + "\n")
        print(f"wrote {FIGURES} after {time.process_time() - started:.0f} CPU seconds")
    if only in (None, "worlds", "chart"):
        save_image(draw_rollout_chart(figures), CHART)
        print(f"wrote {CHART}")


if __name__ == "__main__":
    main()
