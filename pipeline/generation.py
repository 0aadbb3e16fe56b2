"""From a student, a VAE and encoded text to images; the same arithmetic as the nodes, so the same pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..atomic import replacing
from ..models.finite import check_finite
from ..models.student import Student, pool_text
from ..models.wan_vae.vae import WanVAE
from ..samplers import DDIM, Network, NetworkDenoiser, Solver, integrate, per_item_noise, sample
from ..samplers.contract import PRESETS, SamplingContract
from ..samplers.guidance import apply_guidance
from ..samplers.noise import Seed
from ..samplers.solver import OnStep
from .finite import FiniteWatch
from .image_to_image import MaskedDenoiser, Start
from .pictures.convert import Rounding, to_pil, to_unit

__all__ = [
    "Prompts",
    "Variation",
    "check_vae",
    "choose_rounding",
    "decode_images",
    "generate",
    "sample_latents",
    "save_png",
]

MAX_BATCH = 10_000
TRAINING_PREVIEW = "ddim-10 training preview"


@dataclass(frozen=True)
class Variation:
    """What a run does besides what its contract says.

    Attributes:
        start: An image to start from; None starts from pure noise.
        eta: Noise that DDIM adds at each step, from 0 (none, as in training) to 1 (as much as DDPM).
        clip_x0: DDIM limits the predicted clean latent to this; None does not, as in training.
    """

    start: Start | None = None
    eta: float = 0.0
    clip_x0: float | None = None

    def make_solver(self, contract: SamplingContract, seed: Seed) -> Solver:
        """Return the solver of ``contract`` with these settings, drawing from ``seed``.

        Raises:
            ValueError: It does not have them, or they are out of their range.
        """
        solver = contract.make_solver(seed)
        if isinstance(solver, DDIM):
            return replace(solver, eta=self.eta, clip_x0=self.clip_x0)
        if self.eta or self.clip_x0 is not None:
            raise ValueError(
                f"eta is {self.eta:g} and clip_x0 {self.clip_x0}, which only ddim has, but the solver is "
                f"{contract.solver}; leave them out, or sample with ddim."
            )
        return solver


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts and, for guidance (cfg other than 1), what to steer away from.

    Attributes:
        positive: Token embeddings (l_i, d); one entry serves the whole batch, else there is one for each image.
        negative: The same, for what to steer away from.
    """

    positive: Sequence[Tensor]
    negative: Sequence[Tensor] = ()


def generate(
    student: Student,
    vae: WanVAE,
    text: Sequence[Tensor] | Prompts,
    *,
    contract: SamplingContract | None = None,
    seed: Seed = 0,
    batch: int = 1,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample images.

    Args:
        student: The network that samples latents.
        vae: What decodes them.
        text: The prompt's token embeddings, a list of (l, d): one for all images, or one each.
        contract: How to sample, and at which latent size; None takes the student's own.
        seed: Image i starts from the noise of ``seed + i``, or of the i-th of several, whatever the batch is.
        batch: Number of images.
        on_step: Called as ``on_step(i, x, x0)`` after each step.

    Returns:
        (b, H, W, 3) in [0, 1], float32 on the CPU.

    Raises:
        ValueError: There is no contract, the VAE is of another kind than the student's latents, or the number of
            prompts, the batch or the size is not possible.
        NonFiniteError: The text, the latent after some step or the image holds NaN or infinity.
    """
    check_vae(student, vae)
    latent = sample_latents(student, text, contract=contract, seed=seed, batch=batch, on_step=on_step)
    return decode_images(student, vae, latent)


def sample_latents(
    student: Student,
    text: Sequence[Tensor] | Prompts,
    *,
    contract: SamplingContract | None = None,
    variation: Variation | None = None,
    seed: Seed = 0,
    batch: int = 1,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample the student's own latents, not yet projected.

    Args:
        student: As for :func:`generate`, like all that follows.
        text: The prompts' token embeddings.
        contract: How to sample; None is the student's own.
        variation: What the run does besides; None is nothing.
        seed: Of the starting noise, item i using seed + i, or the i-th of several.
        batch: Images of each prompt.
        on_step: Called as ``on_step(i, x, x0)`` after step i.

    Returns:
        (b, C, h, w), normalised.

    Raises:
        ValueError: As for :func:`generate`, but for the VAE.
        NonFiniteError: The text or the latent after some step holds NaN or infinity.
    """
    contract = contract or student.contract
    if contract is None:
        raise ValueError(
            f"{student.source}: has no sampling contract; say how to sample it, for example with the preset "
            "'flow_unipc-20 shift 5' or 'ddim-10 training preview'."
        )
    if not 1 <= batch <= MAX_BATCH:
        raise ValueError(f"batch is {batch}; allowed are 1 to {MAX_BATCH}.")
    prompts = text if isinstance(text, Prompts) else Prompts(text)
    network = _condition_network(student, prompts, contract, batch)
    size = student.config.latent_size
    height, width = contract.latent[1:] if contract.latent else (size, size)
    device = student.network.conv_in.weight.device
    noise = per_item_noise((batch, student.config.num_channels, height, width), seed, device=device)
    return _run(network, noise, contract, variation or Variation(), seed, FiniteWatch(student.source, on_step))


def decode_images(student: Student, vae: WanVAE, latent: Tensor) -> Tensor:
    """Turn the student's finished latents into images, one at a time; see :func:`check_vae` for which VAE fits.

    Args:
        student: What sampled them.
        vae: What decodes them.
        latent: (b, C, h, w), as :func:`sample_latents` returns them.

    Returns:
        (b, H, W, 3) in [0, 1], float32 on the CPU.

    Raises:
        NonFiniteError: An image holds NaN or infinity.
    """
    with torch.inference_mode():
        projected = rearrange(student.to_vae_latent(latent), "b c h w -> b 1 c 1 h w")
        pixels = torch.cat([vae.decode(item) for item in projected])
    return to_unit(rearrange(pixels, "b c 1 h w -> b h w c").float().cpu()).clamp(0.0, 1.0)


def check_vae(student: Student, vae: WanVAE) -> None:
    """Check that the VAE decodes latents of the student's kind.

    Args:
        student: What samples the latents.
        vae: What decodes them.

    Raises:
        ValueError: Their numbers of channels differ.
    """
    if vae.config.z_dim != student.vae_channels:
        wanted = "Wan 2.1" if student.vae_channels == 16 else "Wan 2.2"
        raise ValueError(
            f"vae has {vae.config.z_dim} channels ({vae.config.variant}), but {student.source} samples latents of "
            f"{student.vae_channels}; choose the {wanted} VAE."
        )


def choose_rounding(contract: SamplingContract) -> Rounding:
    """Return how an image becomes 8 bits: training previews round, as torchvision does, everything else truncates."""
    preview = PRESETS[TRAINING_PREVIEW]
    fields = ("solver", "prediction", "steps", "shift", "cfg")
    return "round" if all(getattr(contract, name) == getattr(preview, name) for name in fields) else "truncate"


def save_png(image: Tensor, path: Path, notes: Mapping[str, object], rounding: Rounding = "truncate") -> None:
    """Write a PNG that carries ``notes`` as JSON texts, as ComfyUI writes its own.

    Args:
        image: (H, W, 3) in [0, 1].
        path: The file to write.
        notes: What to write beside the pixels, each under its key.
        rounding: How the image becomes 8 bits (see :func:`choose_rounding`).

    Raises:
        OSError: The file cannot be written; what was there stays.
    """
    texts = PngInfo()
    for key, value in notes.items():
        texts.add_text(key, json.dumps(value))
    with replacing(path) as part:
        to_pil(image, rounding).save(part, format="PNG", pnginfo=texts, compress_level=4)


def _run(
    network: Network, noise: Tensor, contract: SamplingContract, variation: Variation, seed: Seed, watch: FiniteWatch
) -> Tensor:
    solver, start = variation.make_solver(contract, seed), variation.start and variation.start.expand_to(noise)
    schedule = contract.schedule(denoise=1.0 if start is None else start.denoise)
    if start is None:
        latent = sample(network, noise, schedule, solver, prediction=contract.prediction, on_step=watch)
    else:
        denoise = NetworkDenoiser(network, schedule, contract.prediction)
        masked = MaskedDenoiser(denoise, start, noise, schedule.process)
        x = noise if start.denoise == 1 else schedule.process.add_noise(start.latent, noise, schedule.sigma_values[0])
        with torch.no_grad():
            latent, _ = integrate(denoise if start.mask is None else masked, x, schedule, solver, on_step=watch)
    watch.check(schedule.steps)
    return latent


def _condition_network(student: Student, prompts: Prompts, contract: SamplingContract, batch: int) -> Network:
    def with_text(texts: Sequence[Tensor], name: str) -> Network:
        pooled = _pool_prompts(texts, batch, name, contract.text_length)
        return lambda x, timestep: student.network(x, timestep, pooled)

    positive, cfg = with_text(prompts.positive, "text"), contract.cfg
    if cfg == 1:
        return positive
    if not prompts.negative:
        raise ValueError(f"cfg is {cfg:g}, which needs a negative text to steer away from; give one, or set cfg to 1.")
    return apply_guidance(positive, with_text(prompts.negative, "negative text"), cfg)


def _pool_prompts(texts: Sequence[Tensor], batch: int, name: str, length: int | None) -> Tensor:
    if len(texts) not in (1, batch):
        raise ValueError(f"{name} holds {len(texts)} prompts for {batch} images; give one for all or one for each.")
    pooled = pool_text(list(texts), length)
    check_finite(pooled, f"{name}, averaged over its tokens,", "encode the prompt again.")
    # One row for each image, as ComfyUI passes it on: a product with one row rounds otherwise than one with several.
    return pooled.expand(batch, -1)
