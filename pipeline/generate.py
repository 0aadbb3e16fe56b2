"""From a student, a VAE and encoded text to pictures; the same arithmetic as the nodes, so the same pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..atomic import replacing
from ..models.student.network import pool_text
from ..models.student.student import Student
from ..models.wan_vae.vae import WanVAE
from ..samplers import Network, Prediction, per_item_noise, sample
from ..samplers.contract import SamplingContract
from ..samplers.guidance import guided
from ..samplers.solver import OnStep

__all__ = ["Prompts", "check_vae", "decode_images", "generate", "sample_latents", "save_png", "to_uint8"]


MOST_PICTURES = 10_000


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts and, for guidance (cfg other than 1), what to steer away from; rows are (l_i, d).

    One entry serves the whole batch; else there is one for each picture.
    """

    positive: Sequence[Tensor]
    negative: Sequence[Tensor] = ()


def generate(
    student: Student,
    vae: WanVAE,
    text: Sequence[Tensor] | Prompts,
    *,
    contract: SamplingContract | None = None,
    seed: int = 0,
    batch: int = 1,
    on_step: OnStep | None = None,
) -> Tensor:
    """Paint pictures.

    Args:
        text: the prompt's rows, a list of (l, d): one for all pictures, or one each.
        contract: how to sample; None takes the student's own. Its latent size is painted.
        seed: picture i starts from the noise of ``seed + i``, whatever the batch is.
        batch: number of pictures. on_step: called as ``on_step(i, x, x0)`` after each step.

    Returns:
        (b, H, W, 3) in [0, 1], float32 on the CPU.

    Raises:
        ValueError: there is no contract, the VAE is of another kind than the student's latents, or the number of
            prompts, the batch or the size is not possible.
    """
    check_vae(student, vae)
    return decode_images(
        student, vae, sample_latents(student, text, contract=contract, seed=seed, batch=batch, on_step=on_step)
    )


def sample_latents(
    student: Student,
    text: Sequence[Tensor] | Prompts,
    *,
    contract: SamplingContract | None = None,
    seed: int = 0,
    batch: int = 1,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample the student's own latents (b, C, h, w), not yet projected; arguments as for :func:`generate`.

    Raises:
        ValueError: as for :func:`generate`, but for the VAE.
    """
    contract = contract or student.contract
    if contract is None:
        raise ValueError(
            f"{student.source}: has no sampling contract; say how to sample it, for example with the preset "
            "'flow_unipc-20 shift 5' or 'ddim-10 training preview'."
        )
    if not 1 <= batch <= MOST_PICTURES:
        raise ValueError(f"batch is {batch}; allowed are 1 to {MOST_PICTURES}.")
    prompts = text if isinstance(text, Prompts) else Prompts(text)
    network = _network(student, prompts, contract.cfg, batch)
    size = student.config.latent_size
    height, width = contract.latent[1:] if contract.latent else (size, size)
    device = student.network.conv_in.weight.device
    noise = per_item_noise((batch, student.config.num_channels, height, width), seed, device=device)
    return sample(
        network,
        noise,
        contract.schedule(),
        contract.make_solver(),
        prediction=Prediction(contract.prediction),
        on_step=on_step,
    )


def decode_images(student: Student, vae: WanVAE, latent: Tensor) -> Tensor:
    """Turn the student's finished latents (b, C, h, w) into pictures (b, H, W, 3) in [0, 1], one at a time."""
    check_vae(student, vae)
    with torch.inference_mode():
        projected = rearrange(student.to_vae_latent(latent), "b c h w -> b 1 c 1 h w")
        pixels = torch.cat([vae.decode(item) for item in projected])
    return ((rearrange(pixels, "b c 1 h w -> b h w c").float().cpu() + 1.0) / 2.0).clamp(0.0, 1.0)


def check_vae(student: Student, vae: WanVAE) -> None:
    """Raise ValueError where the student's latents are not of the VAE's kind."""
    if vae.config.z_dim != student.vae_channels:
        wanted = "Wan 2.1" if student.vae_channels == 16 else "Wan 2.2"
        raise ValueError(
            f"vae has {vae.config.z_dim} channels ({vae.config.variant}), but {student.source} paints latents of "
            f"{student.vae_channels}; choose the {wanted} VAE."
        )


def to_uint8(image: Tensor) -> np.ndarray:
    """Convert (H, W, 3) in [0, 1] to bytes, cut off and not rounded: what ComfyUI's SaveImage writes."""
    return np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)


def save_png(image: Tensor, path: Path, notes: Mapping[str, object]) -> None:
    """Write (H, W, 3) in [0, 1] as a PNG that carries ``notes`` as JSON texts, as ComfyUI writes its own.

    Raises:
        OSError: the file cannot be written; what was there stays.
    """
    texts = PngInfo()
    for key, value in notes.items():
        texts.add_text(key, json.dumps(value))
    with replacing(path) as part:
        Image.fromarray(to_uint8(image)).save(part, format="PNG", pnginfo=texts, compress_level=4)


def _network(student: Student, prompts: Prompts, cfg: float, batch: int) -> Network:
    def conditioned(text: Tensor) -> Network:
        return lambda x, timestep: student.network(x, timestep, text)

    positive = conditioned(_pooled(prompts.positive, batch, "text"))
    if cfg == 1:
        return positive
    if not prompts.negative:
        raise ValueError(f"cfg is {cfg:g}, which needs a negative text to steer away from; give one, or set cfg to 1.")
    return guided(positive, conditioned(_pooled(prompts.negative, batch, "negative text")), cfg)


def _pooled(texts: Sequence[Tensor], batch: int, name: str) -> Tensor:
    if len(texts) not in (1, batch):
        raise ValueError(f"{name} holds {len(texts)} prompts for {batch} pictures; give one for all or one for each.")
    return pool_text(list(texts))
