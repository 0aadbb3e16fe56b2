"""Distil ``student_flow`` into ``student_4step``, which samples in four steps and renoises between them.

At each of the four sigmas the student is shown noised images and learns where the teacher's own sampling ends from
there: one answer for each input, so no adversary and no second network is needed. It is the first stage of CausVid
(arXiv 2412.07772, section 4.2) and Self-Forcing; on data this simple it is the last one too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...models.student import Student, StudentNetwork, load_student, save_student
from ...models.wan_vae import load_wan_vae
from ...samplers import FLOW, FlowUniPC, NetworkDenoiser, Prediction, Schedule, flow_schedule, integrate
from ...samplers.contract import SamplingContract
from .. import demo_file
from .loop import EMA, Log, make_optimizer, make_parser, schedule_steps, take_step
from .students import encode_images, pool_captions

__all__ = ["CONTRACT", "main", "train"]

CONTRACT = SamplingContract(
    "renoise", Prediction.VELOCITY, shift=5.0, denoising_steps=(1000, 750, 500, 250), timestep_cast="float",
    source="declared",
)  # fmt: skip
TEACHER_STEPS, TEACHER_SHIFT = 20, 5.0
IMAGES = 3000
STEPS = 3000
BATCH = 32
RATE = 1e-3


@dataclass(frozen=True)
class Endpoints:
    """What the student learns from, for each sigma: shapes (sigmas, images, 16, 8, 8), classes (images,)."""

    noised: Tensor
    targets: Tensor
    classes: Tensor


def schedule_from(sigma: float) -> Schedule:
    """Return the rest of the teacher's own schedule from ``sigma`` on; from pure noise all of it."""
    own = flow_schedule(TEACHER_STEPS, shift=TEACHER_SHIFT)
    if sigma >= own.sigma_values[0]:
        return own
    return Schedule(torch.cat([torch.tensor([sigma], dtype=torch.float64), own.sigmas[own.sigmas < sigma]]), FLOW)


@torch.no_grad()
def find_endpoints(teacher: StudentNetwork, noised: Tensor, sigma: float, text: Tensor) -> Tensor:
    """Sample with the teacher from latents (b, 16, 8, 8) at ``sigma`` to the end."""
    schedule = schedule_from(sigma)
    denoise = NetworkDenoiser(lambda x, timestep: teacher(x, timestep, text), schedule, Prediction.VELOCITY)
    return integrate(denoise, noised, schedule, FlowUniPC())[0]


def make_endpoints(teacher: StudentNetwork, models: Path, count: int, generator: Generator) -> Endpoints:
    """Noise ``count`` images to each sigma and sample each with the teacher from there."""
    vae = load_wan_vae(demo_file("vae", models), torch.float32, video=False)
    latents, classes = encode_images(vae, count, generator)
    text, noised, targets = pool_captions(), [], []
    for sigma in CONTRACT.schedule().sigma_values[:-1]:
        noised.append(FLOW.add_noise(latents, torch.randn(latents.shape, generator=generator), sigma))
        pairs = zip(noised[-1].split(256), classes.split(256), strict=True)
        targets.append(torch.cat([find_endpoints(teacher, x, sigma, text[rows]) for x, rows in pairs]))
    return Endpoints(torch.stack(noised), torch.stack(targets), classes)


def train(models: Path, *, steps: int = STEPS, images: int = IMAGES, seed: int = 0) -> Student:
    """Train the four-step student, beginning from its teacher's weights, and write it."""
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    flow = load_student(demo_file("student_flow", models))
    teacher = flow.network
    endpoints, text = make_endpoints(teacher, models, images, generator), pool_captions()
    sigmas = CONTRACT.schedule().sigmas[:-1].float()
    network, final = StudentNetwork(teacher.config), StudentNetwork(teacher.config)
    network.load_state_dict(teacher.state_dict())
    ema, optimizer, log = EMA(network), make_optimizer(network, RATE), Log("student_4step", steps, models)
    for i in schedule_steps(steps, optimizer):
        level = torch.randint(len(sigmas), (BATCH,), generator=generator)
        rows = torch.randint(images, (BATCH,), generator=generator)
        x, sigma = endpoints.noised[level, rows], sigmas[level]
        velocity = network(x, 1000 * sigma, text[endpoints.classes[rows]])
        loss = (x - sigma.view(-1, 1, 1, 1) * velocity - endpoints.targets[level, rows]).square().mean()
        log.add(i, loss=take_step(loss, network, optimizer))
        ema.update()
    final.load_state_dict(ema.state)
    final.half()  # on disk; a loader computes as wide as the device wants
    side = teacher.config.latent_size
    contract = replace(CONTRACT, latent=(teacher.config.num_channels, side, side))
    student = Student(final, contract=contract, source="4step", preview=flow.preview)
    save_student(student, demo_file("student_4step", models))
    return student


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the four-step student and write ``student_4step.safetensors``."""
    parser = make_parser(main.__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--images", type=int, default=IMAGES, help="how many images to train on")
    options = parser.parse_args(arguments)
    train(options.models, steps=options.steps, images=options.images, seed=options.seed)


if __name__ == "__main__":
    main()
