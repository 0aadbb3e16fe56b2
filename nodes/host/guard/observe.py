"""What the host is about to sample, read from the guider, the SAMPLER and the MODEL, in the words of the library."""

from __future__ import annotations

import math
from typing import Any

import comfy.samplers
import torch
from torch import Tensor, nn

from ....check.trace.updates import find_rule
from ....samplers.prediction import Prediction
from ....samplers.process import FLOW, NoiseProcess
from ....samplers.seen import SeenSampling
from ..experts_guider import ExpertsGuider
from ..model_sampling import find_fed_timesteps, format_sampling, get_process
from ..solver_adapter import SolverRun

_PROBE = torch.tensor([[0.5]]), torch.tensor([[3.0]]), torch.tensor([[2.0]])
"""A sigma, an output and an input of a network, by which a reading of the output shows what it is."""


def observe_sampling(guider: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor) -> SeenSampling | None:
    """Return what a guider is about to do, as the host's outer sampling is called; None without a noise process.

    Args:
        guider: The host's, with its MODEL.
        noise: (b, c, ...).
        latent: (b, c, ...), a LATENT, still un-normalised.
        sampler: A SAMPLER.
        sigmas: (n + 1,).
    """
    model = guider.model_patcher
    model_sampling, levels = model.get_model_object("model_sampling"), sigmas.detach().float().cpu()
    process = find_process(model_sampling)
    if process is None:
        return None
    return SeenSampling(
        levels,
        read_prediction(model_sampling, process),
        find_fed_timesteps(model, levels[:-1]),
        solver=find_solver(sampler, process),
        shift=find_shift(model_sampling),
        cfg=guider.cfg if has_plain_guidance(guider) else None,
        latent=(model.get_model_object("latent_format").latent_channels, *latent.shape[-2:]),
        strengths=find_strengths(model),
        from_noise=bool(torch.count_nonzero(noise)) and not torch.count_nonzero(latent),
        is_shared=isinstance(guider, ExpertsGuider),
    )


def find_process(model_sampling: nn.Module) -> NoiseProcess | None:
    """Return the noise process of a MODEL's sampling, None for one that is none of a sampler's (the probe's)."""
    try:
        return get_process(model_sampling)
    except ValueError:
        return None


def read_prediction(model_sampling: Any, process: NoiseProcess) -> Prediction | str:
    """Return how the output of a network is read: found out by one number, so that other packs' kinds count too."""
    sigma, output, x = _PROBE
    x0 = model_sampling.calculate_denoised(sigma[0], output, x)
    if torch.allclose(x0, x - sigma * output):
        return Prediction.VELOCITY if process is FLOW else Prediction.EPSILON
    return Prediction.X0 if torch.equal(x0, output) else format_sampling(model_sampling)


def find_solver(sampler: Any, process: NoiseProcess) -> str | None:
    """Return the solver of a SAMPLER by its name in contracts, or by the host's own; None for one that nobody knows."""
    run = find_run(sampler)
    if run is not None:
        return run.solver.name
    name = find_sampler_name(sampler)
    if name is None:
        return None
    solver = find_rule(name).solver
    if solver == "flow_euler" and sampler.extra_options.get("s_churn", 0.0) > 0:
        return f"{name} with churn"
    return "ddim" if solver == "flow_euler" and process is not FLOW else solver or f"core's {name}"


def find_sampler_name(sampler: Any) -> str | None:
    """Return the name of one of core's SAMPLERs, as KSamplerSelect lists them, or None."""
    function = getattr(getattr(sampler, "sampler_function", None), "__name__", "")
    name = {"sample_unipc": "uni_pc", "sample_unipc_bh2": "uni_pc_bh2"}.get(function, function.removeprefix("sample_"))
    return name if name in comfy.samplers.SAMPLER_NAMES or name == "ar_video" else None


def find_run(sampler: Any) -> SolverRun | None:
    """Return the run of a SAMPLER of this pack, or None."""
    run = getattr(sampler, "extra_options", {}).get("run")
    return run if isinstance(run, SolverRun) else None


def find_shift(model_sampling: nn.Module) -> float | None:
    """Return the rational shift that a MODEL's sampling carries, or None."""
    shift = getattr(model_sampling, "shift", None)
    if shift is None:
        return None
    return float(shift) if hasattr(model_sampling, "multiplier") else math.exp(shift)  # Flux's is the exponent


def has_plain_guidance(guider: Any) -> bool:
    """Whether a guider's ``cfg`` is the guidance, the one of everything that it samples."""
    own = type(guider).predict_noise
    return own in (comfy.samplers.CFGGuider.predict_noise, ExpertsGuider.predict_noise)


def find_strengths(model: Any) -> tuple[float, ...]:
    """Return the strengths at which LoRAs are on a MODEL, each once."""
    strengths = {
        float(patch[0])
        for patches in model.patches.values()
        for patch in patches
        if hasattr(patch[1], "weights") and patch[0] != 0
    }
    return tuple(sorted(strengths))
