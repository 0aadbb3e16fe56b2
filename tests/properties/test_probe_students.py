"""The probe on trained students: the reading that their training had must come first, from every seed."""

from __future__ import annotations

import pytest
import torch

from wan_lite.demo import demo_file
from wan_lite.demo.captions import embed
from wan_lite.demo.patterns import list_captions
from wan_lite.models.student import load_student, pool_text
from wan_lite.pipeline.probing import probe
from wan_lite.samplers import PRESETS

SEEDS = range(5)  # twenty were run when the probe was made; five keep the suite short


@pytest.mark.parametrize("name", ["ddim", "flow", "4ch"])
def test_a_trained_student_is_read_as_it_was_trained(name: str) -> None:
    student, texts = load_student(demo_file(f"student_{name}")), list_captions()
    side = student.config.latent_size
    candidates = {key: PRESETS[key] for key in ("ddim-20 run_inference", "flow_unipc-20 shift 5")}
    for seed in SEEDS:
        text = pool_text([embed(texts[(7 * seed + 5 * item) % len(texts)]) for item in range(2)])
        with torch.inference_mode():
            report = probe(
                lambda x, t, text=text: student.network(x, t, text),
                candidates,
                (2, student.config.num_channels, side, side),
                seed=100 * seed,
                finish=student.to_vae_latent,
            )
        assert report.best.prediction == student.contract.prediction, str(report)
        assert "clearly ahead" in report.sentence
