"""The probe in the host: the MODEL's own network under every candidate contract, in the host's memory management."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.samplers
import torch
from einops import rearrange
from torch import Tensor

from ...pipeline.probing import ProbeReport, probe
from ...samplers.contract import SamplingContract
from .checks import get_contract
from .model_sampling import RawOutput, patch_sampling
from .progress import Progress
from .student_model import STUDENT_ATTACHMENT, ProjectedLatent


class ProbeSampler(comfy.samplers.Sampler):
    """A SAMPLER that runs the probe where the host runs a sampler: model loaded, text prepared.

    Args:
        candidates: Contracts by name.
        shape: Of the latents, (b, c, h, w).
        seed: Of the noise that every candidate starts from.
        normalise: From the network's own latents to the VAE's, normalised.
        max_calls: How many calls of the network are allowed.
    """

    def __init__(
        self,
        candidates: Mapping[str, SamplingContract],
        shape: Sequence[int],
        seed: int,
        normalise: Callable[[Tensor], Tensor],
        max_calls: int,
    ) -> None:
        self.candidates, self.shape, self.seed, self.normalise = candidates, shape, seed, normalise
        self.max_calls = max_calls
        self.report: ProbeReport | None = None

    def sample(
        self, model_wrap: Any, sigmas: Tensor, extra_args: dict[str, Any], callback: Any, noise: Tensor, *_: Any
    ) -> Tensor:
        """Make the report; the latent that the host wants back means nothing."""
        del sigmas, callback

        def network(x: Tensor, timestep: Tensor) -> Tensor:
            latent = x.to(noise).reshape(len(x), *noise.shape[1:])
            output: Tensor = model_wrap(latent, timestep.to(noise), **extra_args)
            return output.reshape(x.shape).to(x)

        self.report = probe(
            network,
            self.candidates,
            self.shape,
            seed=self.seed,
            finish=self.normalise,
            on_run=Progress(),
            max_calls=self.max_calls,
        )
        return noise


@dataclass(frozen=True)
class ProbeInputs:
    """What is probed, and with what effort.

    Attributes:
        model: The MODEL.
        positive: The prompt.
        latent: In the shape to probe, (b, c, h, w) or (b, c, 1, h, w).
        seed: Of the noise that every candidate starts from.
        max_calls: How many calls of the network are allowed.
    """

    model: Any
    positive: list[Any]
    latent: Tensor
    seed: int
    max_calls: int


def run_probe(inputs: ProbeInputs, candidates: Mapping[str, SamplingContract]) -> ProbeReport:
    """Run the probe in the host.

    Raises:
        ValueError: The candidates need more calls of the network than allowed.
    """
    model, latent, seed = inputs.model, inputs.latent, inputs.seed
    flat = latent[:, :, 0] if latent.ndim == 5 else latent
    normalise = partial(normalise_latent, model.get_model_object("latent_format"), dimensions=latent.ndim)
    sampler = ProbeSampler(candidates, tuple(flat.shape), seed, normalise, inputs.max_calls)
    guider = comfy.samplers.CFGGuider(patch_sampling(model, RawOutput()))
    guider.set_conds(inputs.positive, inputs.positive)
    guider.sample(torch.zeros_like(latent), torch.zeros_like(latent), sampler, torch.tensor([1.0, 0.0]), seed=seed)
    assert sampler.report is not None
    return sampler.report


def to_vae_latent(latent_format: Any, latent: Tensor, *, dimensions: int) -> Tensor:
    """Turn a network's own latents (b, c, h, w) into the LATENT of a sampler node; 5 dimensions have a frame axis."""
    full = rearrange(latent, "b c h w -> b c 1 h w") if dimensions == 5 else latent
    out: Tensor = latent_format.process_out(full)
    return out


def normalise_latent(latent_format: Any, latent: Tensor, *, dimensions: int) -> Tensor:
    """Turn a network's own latents (b, c, h, w) into the VAE's, normalised as statistics want them."""
    if not isinstance(latent_format, ProjectedLatent):
        return latent
    full: Tensor = latent_format.vae_format.process_in(to_vae_latent(latent_format, latent, dimensions=dimensions))
    return full.reshape(len(latent), -1, *latent.shape[2:])


def make_decoder(model: Any, vae: Any, dimensions: int) -> Callable[[Tensor], Tensor]:
    """Return what turns a network's own latents (1, c, h, w) into images (1, H, W, 3) in [0, 1]."""
    latent_format = model.get_model_object("latent_format")

    def decode(latent: Tensor) -> Tensor:
        image: Tensor = vae.decode(to_vae_latent(latent_format, latent, dimensions=dimensions))
        return image.reshape(-1, *image.shape[-3:])

    return decode


def make_latents(model: Any, like: dict[str, Any] | None, count: int) -> Tensor:
    """Return zeros in the shape to probe: the connected LATENT's, or the student's own.

    Raises:
        ValueError: The MODEL is not a student and no latent is connected.
    """
    latent_format, info = model.get_model_object("latent_format"), model.get_attachment(STUDENT_ATTACHMENT)
    if like is not None:
        size = tuple(like["samples"].shape[-2:])
    elif info is not None:
        size = (info.config.latent_size,) * 2
    else:
        raise ValueError("latent: this MODEL is not a student, so its size is unknown; connect an empty LATENT.")
    frames = (1,) if latent_format.latent_dimensions == 3 else ()
    return torch.zeros(count, latent_format.latent_channels, *frames, *size)


def complete_contract(model: Any, best: SamplingContract) -> SamplingContract:
    """Return the best candidate with what the MODEL's own contract knows of its latents and VAE."""
    known = get_contract(model)
    if known is None or best.version > 1 or known.version > 1:
        return best
    found = {name: getattr(best, name) for name in ("solver", "prediction", "steps", "shift")}
    return replace(known, **found, source="assumed")
