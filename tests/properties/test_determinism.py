"""The same bytes over runs, processes and hash seeds; nearly the same over batch sizes and numbers of threads.

Exact where the order of the arithmetic is the same. Another batch size or number of threads lets the libraries of the
processor sum in another order: there latents may differ by 1e-5 and images by one level of 255.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wan_lite.models import load_student, load_wan_vae, load_world, rollout
from wan_lite.models.text_embeds import read_text_embeds
from wan_lite.pipeline.generation import decode_images, sample_latents

DEMO = Path(__file__).resolve().parents[2] / "demo" / "models"
STUDENT = DEMO / "wan_students" / "wan-lite-demo" / "student_flow.safetensors"
VAE = DEMO / "vae" / "wan-lite-demo" / "vae.safetensors"
EMBEDS = DEMO / "wan_lite_embeds" / "wan-lite-demo" / "captions.safetensors"
WORLD = DEMO / "world_models" / "wan-lite-demo" / "world.safetensors"
WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "student_flow_unipc.json"
LATENT_TOLERANCE, LEVELS = 1e-5, 1
COMMANDS = {
    "sample": ("sample", "--student", STUDENT, "--vae", VAE, "--embeds", f"{EMBEDS}:0", "--steps", "3", "--seed", "5",
               "--on-mismatch", "ignore", "--quiet", "--out", "{}/a.png"),
    "rollout": ("rollout", "--world", WORLD, "--clip", WORLD.with_name("world_clip.safetensors"), "--steps", "2",
                "--temperature", "0.8", "--maskgit-steps", "3", "--quiet", "--out", "{}/a.png"),
    "check": ("check", WORKFLOW, "--json"),
    "inspect": ("inspect", DEMO),
}  # fmt: skip


def run(name: str, folder: Path, **environment: str) -> str:
    """What a command prints and writes, in a process of its own, as one digest."""
    folder.mkdir()
    words = [str(word).replace("{}", str(folder)) for word in COMMANDS[name]]
    changed = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run([sys.executable, "-m", "wan_lite", *words], capture_output=True, env=changed)
    assert done.returncode in (0, 1), done.stderr
    shown = hashlib.sha256(done.stdout.replace(str(folder).encode(), b""))
    for path in sorted(folder.iterdir()):
        shown.update(path.read_bytes())
    return shown.hexdigest()


@pytest.mark.parametrize("name", COMMANDS)
def test_processes_and_hash_seeds_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    seeds = ("1", "random")
    assert len({run(name, tmp_path / seed, PYTHONHASHSEED=seed) for seed in seeds}) == 1


def test_runs_and_other_work_between_them_give_the_same_bytes() -> None:
    student, (texts, _) = load_student(STUDENT), read_text_embeds(EMBEDS)
    first = sample_latents(student, texts[:2], seed=3, batch=2)
    world = load_world(WORLD)
    rollout(world, torch.zeros(1, 2, 3, world.frame_size, world.frame_size), steps=1, maskgit_steps=1)
    torch.manual_seed(99)
    assert torch.equal(sample_latents(student, texts[:2], seed=3, batch=2), first)
    assert torch.equal(sample_latents(load_student(STUDENT), texts[:2], seed=3, batch=2), first)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_batch_sizes_give_the_same_images(size: int) -> None:
    student, vae, (texts, _) = load_student(STUDENT), load_wan_vae(VAE), read_text_embeds(EMBEDS)
    together = sample_latents(student, texts[:5], seed=3, batch=5)
    groups = [(i, texts[i : min(i + size, 5)]) for i in range(0, 5, size)]
    parts = [sample_latents(student, group, seed=3 + i, batch=len(group)) for i, group in groups]
    apart = torch.cat(parts)
    assert (apart - together).abs().max() <= LATENT_TOLERANCE
    images = decode_images(student, vae, together)
    alone = torch.cat([decode_images(student, vae, part) for part in parts])
    assert (to_levels(alone) - to_levels(images)).abs().max() <= LEVELS


def to_levels(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).to(torch.int64)


def test_numbers_of_threads_stay_within_a_level(tmp_path: Path) -> None:
    shown = []
    for threads in ("1", "2", "4"):
        run("sample", tmp_path / threads, OMP_NUM_THREADS=threads)
        shown.append(np.asarray(Image.open(tmp_path / threads / "a.png")).astype(int))
    assert max(np.abs(image - shown[0]).max() for image in shown) <= LEVELS
