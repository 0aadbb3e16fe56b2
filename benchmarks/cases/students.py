"""The student at the size that its training repository ships: one forward, and a whole image of twenty steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ...models.student import StudentConfig, StudentNetwork
from ...models.student.loading import to_file_names
from ...models.wan_vae import WAN21, load_wan_vae
from ...samplers import DDIM, Prediction, ddim_schedule, sample
from ..bench import Bench, Case, make_noise, measure_distance
from ..codecs import make_official, write_weights
from ..peers import OFFICIAL, WANDISTILLER, import_file, importing_from
from ..records import OURS, Figure, Outcome
from ..timing import Call

__all__ = ["CASES"]

SECTION = "Student"
DEFAULT = StudentConfig(1024, 16, 16, 4, 1024, 16, 4096)
QUICK = StudentConfig(32, 2, 2, 4, 64, 16, 8)
STEPS, TOKENS = 20, 40
LEAST_FASTER, LEAST_SHARE = 1.6, 0.85
UNUSED = ("easydict", "wan", "wan.text2video", "wan.configs", "wan.configs.wan_t2v_A14B", "projection_mapper")
"""What the training repository imports for its teacher, which is not measured."""


def build_ours(config: StudentConfig, dtype: torch.dtype = torch.float32) -> StudentNetwork:
    """Return our network with random weights."""
    torch.manual_seed(0)
    return StudentNetwork(config).to(dtype).eval().requires_grad_(False)


def build_original(bench: Bench, ours: StudentNetwork) -> nn.Module:
    """Return the training repository's own network with the weights of ours."""
    assert bench.peers.wandistiller is not None
    with importing_from(bench.peers.wandistiller, UNUSED):
        from train_distillation import WanLiteStudent
    config = ours.config
    theirs: nn.Module = WanLiteStudent(
        hidden_size=config.hidden_size,
        depth=config.depth,
        num_heads=config.num_heads,
        num_channels=config.num_channels,
        image_size=config.image_size,
        patch_size=config.patch_size,
        text_max_length=77,
        text_encoder_output_dim=config.text_encoder_output_dim,
    )
    theirs.load_state_dict(to_file_names(ours.state_dict()))
    return theirs.to(ours.conv_in.weight.dtype).eval().requires_grad_(False)


def measure_forward(bench: Bench, dtype: torch.dtype) -> Outcome:
    """Time one call beside the original's, and beside the matrix products and attentions that it cannot do without."""
    config = QUICK if bench.is_quick else DEFAULT
    ours = build_ours(config, dtype)
    latent = make_noise(1, config.num_channels, config.latent_size, config.latent_size).to(dtype)
    timestep, text = torch.tensor([500]), make_noise(1, TOKENS, config.text_encoder_output_dim).to(dtype)
    calls: dict[str, Call[Tensor]] = {OURS: Call(lambda: ours(latent, timestep, text))}
    has_peer = bench.peers.wandistiller is not None and dtype == torch.float32  # theirs feeds float32 to its layers
    if has_peer:
        theirs = build_original(bench, ours)
        calls[WANDISTILLER] = Call(lambda: theirs(latent, None, timestep, text))
    calls["its matrix products and attention alone"] = Call(make_floor(ours, config.latent_size**2, dtype))
    name = "bf16" if dtype == torch.bfloat16 else "fp32"
    what = f"forward, {name}, latent {config.latent_size}x{config.latent_size}"
    row = bench.compare(what, calls, reference=WANDISTILLER, distance=measure_relative if has_peer else None)
    share = row.entries[-1].cpu_ratio
    assert share is not None
    figures = (Figure(f"forward, {name}, share of its matrix products and attention", share.median, least=LEAST_SHARE),)
    return bench.conclude(rows=(row,), figures=figures, settings={"distance": "of the largest value"})


def measure_relative(result: Tensor, reference: Tensor) -> float | None:
    """Return the largest difference of two predictions, of the largest value; None of what predicts nothing."""
    if result.shape != reference.shape:
        return None
    return measure_distance(result, reference) / float(reference.abs().max())


def make_floor(network: StudentNetwork, cells: int, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Return the matrix products and attentions of a network's blocks, with nothing between them."""
    size, heads = network.config.hidden_size, network.config.num_heads
    given = {width: make_noise(cells, width).to(dtype) for width in (size, 4 * size)}
    q, k, v = (make_noise(1, heads, cells, size // heads, seed=seed).to(dtype) for seed in range(3))
    layers = [layer for layer in network.blocks.modules() if isinstance(layer, nn.Linear)]

    def run() -> Tensor:
        for layer in layers:
            result = F.linear(given[layer.in_features], layer.weight, layer.bias)
        for _ in network.blocks:
            F.scaled_dot_product_attention(q, k, v)
        return result

    return run


def measure_image(bench: Bench, latent: int, steps: int) -> Outcome:
    """Time a whole image, from noise to a PNG, beside the program of the training repository."""
    config = QUICK if bench.is_quick else replace(DEFAULT, image_size=16 * latent)
    steps = 2 if bench.is_quick else steps
    network, projection = build_ours(config), nn.Conv2d(config.num_channels, 16, 1).requires_grad_(False)
    text = make_noise(1, TOKENS, config.text_encoder_output_dim)[0]
    calls = {OURS: Call(make_our_image(bench, network, projection, text, steps))}
    if bench.peers.wandistiller and bench.peers.official:
        calls[WANDISTILLER] = Call(make_their_image(bench, network, projection, text, steps))
    side = 8 * config.latent_size
    row = bench.compare(
        f"{side}x{side} image, {steps} DDIM steps and the VAE", calls, reference=WANDISTILLER, distance=measure_levels
    )
    ratio = row.entries[-1].times_slower
    figures = (Figure(f"{row.what}, {WANDISTILLER} / {OURS}", ratio, least=LEAST_FASTER),) if ratio else ()
    return bench.conclude(rows=(row,), figures=figures, settings={"distance": f"8-bit levels / 255; VAE of {OFFICIAL}"})


def make_our_image(
    bench: Bench, network: StudentNetwork, projection: nn.Conv2d, text: Tensor, steps: int
) -> Callable[[], Path]:
    """Return a run of ours from the same noise as theirs."""
    vae, path = load_wan_vae(write_weights(bench)), bench.folder / "ours.png"
    config = network.config

    def run() -> Path:
        torch.manual_seed(0)
        noise = torch.randn(1, config.num_channels, config.latent_size, config.latent_size)
        schedule = ddim_schedule(steps, shift=1.0)
        latent = sample(lambda x, t: network(x, t, [text]), noise, schedule, DDIM(), prediction=Prediction.EPSILON)
        image = vae.decode(projection(latent).unsqueeze(2))[0, :, 0]
        Image.fromarray((image.add(1).mul(127.5)).permute(1, 2, 0).to(torch.uint8).numpy()).save(path)
        return path

    return run


def make_their_image(
    bench: Bench, network: StudentNetwork, projection: nn.Conv2d, text: Tensor, steps: int
) -> Callable[[], Path]:
    """Return a run of their ``run_inference.py``: its own loop, with loaded networks and an encoded prompt."""
    assert bench.peers.wandistiller is not None
    from safetensors.torch import save_file

    folder, path = bench.folder / "student", bench.folder / "theirs.png"
    folder.mkdir(exist_ok=True)
    save_file(projection.state_dict(), folder / "output_proj.safetensors")
    theirs, teacher = build_original(bench, network), Teacher(bench, text)
    with importing_from(bench.peers.wandistiller, UNUSED):
        program = import_file(bench.peers.wandistiller / "run_inference.py", "run_inference")
    program.WanT2V = lambda **_: teacher
    program.EasyDict = lambda _: {}
    program.WanLiteStudent = type("Loaded", (), {"from_pretrained": staticmethod(lambda _: theirs)})
    options = [f"--model_path={folder}", "--teacher_path=.", "--prompt=x", f"--output_path={path}", "--device=cpu"]

    def run() -> Path:
        argv, sys.argv = sys.argv, ["run_inference.py", *options, f"--num_inference_steps={steps}"]
        try:
            program.main()
        finally:
            sys.argv = argv
        return path

    return run


class Teacher:
    """What their program takes from the teacher: an encoded prompt, and Wan's own VAE."""

    def __init__(self, bench: Bench, text: Tensor) -> None:
        self.text, self.vae = text, self
        self.model = make_official(write_weights(bench), bench.peers)
        self.scale = [torch.tensor(WAN21.latents_mean), 1.0 / torch.tensor(WAN21.latents_std)]

    def text_encoder(self, prompts: list[str], device: Any) -> list[Tensor]:
        """Return the rows of the prompt; the noise that is drawn next depends on this seed alone."""
        torch.manual_seed(0)
        return [self.text]

    def decode(self, latents: list[Tensor]) -> list[Tensor]:
        """Decode normalised latents (16, 1, h, w)."""
        return [self.model.decode(latent[None], self.scale)[0].clamp(-1, 1) for latent in latents]


def measure_levels(result: Path, reference: Path) -> float:
    """Return the largest difference of two image files, of 1."""
    one, other = (np.asarray(Image.open(path), dtype=np.int16) for path in (result, reference))
    return float(np.abs(one - other).max()) / 255


CASES = [
    Case("student-fp32", SECTION, partial(measure_forward, dtype=torch.float32)),
    Case("student-bf16", SECTION, partial(measure_forward, dtype=torch.bfloat16)),
    Case("student-image-256", SECTION, partial(measure_image, latent=32, steps=STEPS)),
    Case("student-image-512-4", SECTION, partial(measure_image, latent=64, steps=4)),
    Case("student-image-512-20", SECTION, partial(measure_image, latent=64, steps=STEPS)),
]
