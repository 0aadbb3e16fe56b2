"""Train the demo students on latents of the image set, each for the process that its contract names.

``flow`` and ``4ch`` learn velocity in the flow process, from data. ``ddim`` learns epsilon in the process
alpha^2 = 1 - t/1000, from what ``flow`` says: real students are distilled from a teacher, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

from ...models.student import (
    PreviewColours,
    Student,
    StudentConfig,
    StudentNetwork,
    fit_preview_colours,
    load_student,
    save_student,
)
from ...models.student.network import Block
from ...models.wan_vae import WanVAE, load_wan_vae
from ...samplers.contract import PRESETS, SamplingContract
from ...samplers.process import FLOW, VP
from ...samplers.schedule import shift_sigma
from ...samplers.timesteps import ddim_sigma, wan_timestep
from .. import demo_file
from ..captions import WIDTH, embed
from ..patterns import COLOURS, PATTERNS, SIZE, draw, list_captions
from .loop import EMA, Log, make_optimizer, make_parser, schedule_steps, take_step
from .vae import KEPT

__all__ = ["KINDS", "Kind", "NoisedBatch", "Plan", "encode_images", "fit_preview", "main", "train"]

CLASSES = len(COLOURS) * len(PATTERNS)
IMAGES = 12_000
BATCH = 16
SHIFT = 5.0  # of the flow students' sampling
TRAIN_SHIFT = 3.0  # their training looks a little more at low noise than their sampling does
FIRST_STEP = 1 / 8  # share of an epsilon batch that is at t = 999, where sampling starts
PREVIEW_IMAGES = 4 * CLASSES
HEAVIEST = 50.0  # weight of an epsilon's error, at most


@dataclass(frozen=True)
class NoisedBatch:
    """What the network is shown and asked for; latents ``(b, c, h, w)``, timestep int64 ``(b,)``, weight ``(b,)``."""

    latent: Tensor
    timestep: Tensor
    target: Tensor
    weight: Tensor


def make_flow_batch(x0: Tensor, generator: Generator) -> NoisedBatch:
    """X = (1 - s) x0 + s noise, velocity = noise - x0, timestep = 1000 s truncated as Wan truncates it."""
    sigma = shift_sigma(torch.rand(len(x0), generator=generator, dtype=torch.float64), TRAIN_SHIFT).clamp(1e-3, 0.9998)
    noise = torch.randn(x0.shape, generator=generator)
    return NoisedBatch(FLOW.add_noise(x0, noise, sigma), wan_timestep(sigma), noise - x0, torch.ones(len(x0)))


def make_ddim_batch(x0: Tensor, generator: Generator) -> NoisedBatch:
    """X = sqrt(a) x0 + sqrt(1 - a) noise, a = 1 - t / 1000 within [0.001, 0.999], target = noise.

    All cells of an image are alike, so together they say what it is when each is still almost pure noise: pattern and
    phase are decided between t = 999 and t = 940. Half of the batch therefore has its a even on a logarithmic scale,
    an eighth is at 999 where every run begins, and an error weighs 1 / a (that of a velocity) up to a limit.
    """
    count = len(x0)
    timestep = torch.randint(1000, (count,), generator=generator)
    logarithmic = 1000 * (1 - 10 ** (-3 * torch.rand(count, generator=generator)))
    timestep[: count // 2] = logarithmic.long().clamp(max=999)[: count // 2]
    timestep[: round(FIRST_STEP * count)] = 999
    sigma = ddim_sigma(timestep).float()
    noise = torch.randn(x0.shape, generator=generator)
    weight = (1 / (1 - sigma.square())).clamp(max=HEAVIEST)
    return NoisedBatch(VP.add_noise(x0, noise, sigma), timestep, noise, weight)


@torch.no_grad()
def predict_teacher_noise(shown: NoisedBatch, text: Tensor, teacher: StudentNetwork) -> Tensor:
    """Return the noise that a velocity student sees in latents of the DDIM process, ``(b, c, h, w)``.

    Divided by alpha + sigma a latent of one process is one of the other, with the same signal-to-noise ratio. The
    teacher's answer is the mean over all images that the latent could be; learning from it instead of from the one
    that it was spares the student the guessing, which near t = 999 is nearly all of its loss.
    """
    sigma = rearrange(ddim_sigma(shown.timestep).float(), "b -> b 1 1 1")
    alpha = (1 - sigma.square()).sqrt()
    flow_sigma = sigma / (alpha + sigma)
    x = shown.latent / (alpha + sigma)
    x0 = x - flow_sigma * teacher(x, wan_timestep(flow_sigma.flatten()), text)
    return (shown.latent - alpha * x0) / sigma


@dataclass(frozen=True)
class Kind:
    """One student: its network's sizes, how its latents are noised, how it is sampled, who teaches it (a student)."""

    config: StudentConfig
    make_batch: Callable[[Tensor, Generator], NoisedBatch]
    preset: str
    steps: int
    rate: float = 2e-3
    teacher: str | None = None


def _make_config(hidden: int, depth: int, channels: int = 16) -> StudentConfig:
    return StudentConfig(hidden, depth, 4, channels, SIZE, 8, WIDTH)


KINDS = {
    "flow": Kind(_make_config(96, 4), make_flow_batch, "flow_unipc-20 shift 5", 12_000),
    "ddim": Kind(_make_config(128, 4), make_ddim_batch, "ddim-20 run_inference", 14_000, teacher="flow"),
    "4ch": Kind(_make_config(96, 4, KEPT), make_flow_batch, "flow_unipc-20 shift 5", 20_000),
}


def make_contract(kind: Kind) -> SamplingContract:
    """Return the contract that goes into the file: the preset, declared, with this student's latent."""
    side, channels = kind.config.latent_size, kind.config.num_channels
    latent = (channels, side, side)
    return replace(PRESETS[kind.preset], latent=latent, output_projection=channels != 16, source="declared")


@torch.no_grad()
def encode_images(vae: WanVAE, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return normalised latents ``(count, 16, 8, 8)`` of random images, and their classes ``(count,)``."""
    classes = torch.randint(CLASSES, (count,), generator=generator)
    parts = [vae.encode(rearrange(draw(rows, generator).pixels, "b c h w -> b c 1 h w")) for rows in classes.split(64)]
    return rearrange(torch.cat(parts), "b c 1 h w -> b c h w"), classes


def fit_preview(student: Student, vae: WanVAE) -> PreviewColours:
    """Return the colours of the student's previews, from images as the demo VAE encodes them."""
    generator = Generator().manual_seed(0)
    pixels = draw(torch.arange(PREVIEW_IMAGES) % CLASSES, generator).pixels
    latents = rearrange(vae.encode(rearrange(pixels, "b c h w -> b c 1 h w")), "b c 1 h w -> b c h w")
    return fit_preview_colours(student.to_vae_latent(student.from_vae_latent(latents)), pixels)


def pool_captions() -> Tensor:
    """Return every caption's embeddings averaged, as the network does it: ``(classes, 64)``."""
    return torch.stack([embed(text).mean(0) for text in list_captions()])


@torch.no_grad()
def initialise(network: StudentNetwork) -> None:
    """Start as the identity: noise passes through the two convolutions unchanged and the blocks are nearly silent.

    Near pure noise both targets are almost the input, and what counts is the small difference from it.
    """
    size, channels = network.config.hidden_size, network.config.num_channels
    basis = nn.init.orthogonal_(torch.empty(size, channels))
    for conv, kernel in ((network.conv_in, basis), (network.conv_out, basis.T)):
        conv.weight.mul_(0.1)
        conv.weight[:, :, 1, 1] = kernel
        nn.init.zeros_(conv.bias)
    _quieten(network.time_embed[2], 0.02)
    for block in cast("list[Block]", list(network.blocks)):
        for last in (block.attn.out_proj, block.mlp[2]):
            _quieten(last, 0.02 / math.sqrt(2 * network.config.depth))


def _quieten(layer: nn.Module, std: float) -> None:
    assert isinstance(layer, nn.Linear)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)


def fit_projection(latents: Tensor, kept: int = KEPT) -> nn.Conv2d:
    """Return the affine map of least error from the first channels of the latents ``(b, 16, h, w)`` to all 16."""
    columns = rearrange(latents, "b c h w -> (b h w) c")
    known = torch.cat([columns[:, :kept], torch.ones(len(columns), 1)], dim=1)
    solution = torch.linalg.lstsq(known, columns).solution
    layer = nn.Conv2d(kept, latents.shape[1], 1)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(solution[:kept].T[:, :, None, None])
        layer.bias.copy_(solution[kept])
    return layer.requires_grad_(False)


@dataclass(frozen=True)
class Plan:
    """How a student is trained; ``steps`` None is the kind's own number, ``resume`` continues from the old file."""

    steps: int | None = None
    seed: int = 0
    images: int = IMAGES
    resume: bool = False


def train(name: str, plan: Plan, models: Path) -> Student:
    """Train one student and write it after every fifth of the way."""
    kind = KINDS[name]
    steps, path = plan.steps or kind.steps, demo_file(f"student_{name}", models)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    generator = Generator().manual_seed(plan.seed)
    vae = load_wan_vae(demo_file("vae", models), torch.float32, video=False)
    latents, classes = encode_images(vae, plan.images, generator)
    channels, text = kind.config.num_channels, pool_captions()
    projection = fit_projection(latents, channels) if channels != latents.shape[1] else None
    network, final = StudentNetwork(kind.config), StudentNetwork(kind.config)
    initialise(network)
    if plan.resume:
        network.load_state_dict(load_student(path).network.state_dict())
    ema, optimizer = EMA(network), make_optimizer(network, kind.rate)
    log = Log(f"student_{name}_resumed" if plan.resume else f"student_{name}", steps, models)
    teacher = None if kind.teacher is None else load_student(demo_file(f"student_{kind.teacher}", models)).network
    student = Student(final, output_proj=projection, contract=make_contract(kind), source=name)
    student.preview = fit_preview(student, vae)
    for i in schedule_steps(steps, optimizer):
        rows = torch.randint(plan.images, (BATCH,), generator=generator)
        shown = kind.make_batch(latents[rows, :channels], generator)
        target = shown.target if teacher is None else predict_teacher_noise(shown, text[classes[rows]], teacher)
        error = (network(shown.latent, shown.timestep, text[classes[rows]]) - target).square()
        loss = (error * rearrange(shown.weight, "b -> b 1 1 1")).mean()
        log.add(i, loss=take_step(loss, network, optimizer), unweighted=float(error.detach().mean()))
        ema.update()
        if (i + 1) % max(steps // 5, 1) == 0 or i + 1 == steps:
            final.load_state_dict(ema.state)
            save_student(student, path)
    return student


def main(arguments: Sequence[str] | None = None) -> None:
    """Train students and write ``student_<name>.safetensors`` for each."""
    parser = make_parser(main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KINDS)}; all by default")
    parser.add_argument("--steps", type=int, help="instead of each one's own number")
    parser.add_argument("--images", type=int, default=IMAGES, help="how many images to train on")
    parser.add_argument("--resume", action="store_true", help="continue from the existing files")
    options = parser.parse_args(arguments)
    plan = Plan(options.steps, options.seed, options.images, options.resume)
    for name in options.names or list(KINDS):
        train(name, plan, options.models)


if __name__ == "__main__":
    main()
