"""What a host is about to sample, as far as it can be told, against the contract of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..training_rules import TRAIN_TIMESTEPS, is_high_noise
from .contract import SamplingContract
from .formatting import format_timestep_list, format_timesteps
from .mismatch import SAME_SIGMA, Mismatch, check_few_steps, make_mismatch
from .prediction import Prediction
from .process import FLOW
from .schedule import infer_shift
from .timesteps import ddim_timestep

__all__ = ["SeenSampling", "find_deviations", "format_both_timesteps"]

_SAME_TIMESTEP = 0.01
_SAME_ROUNDED = 1.5  # truncated or not, to the nearest entry of a table or not


@dataclass(frozen=True)
class SeenSampling:
    """What is about to be sampled; None where the host does not tell.

    Attributes:
        sigmas: (n + 1,), falling: of the flow process, or noise over signal.
        prediction: How the output will be read; the host's own name of a way that is none of these.
        fed: (n,), what the network will be fed at the sigmas, as timesteps up to 1000.
        solver: A name in ``SOLVERS``, or the host's own name of another.
        shift: That the model carries, which counts where the sigmas do not show theirs.
        cfg: Guidance.
        latent: (channels, height, width) of the network's own latents.
        strengths: At which LoRAs are applied; empty for none.
        from_noise: Whether the run starts from nothing but noise.
        is_shared: Whether another expert takes the steps that are not this one's.
    """

    sigmas: Tensor
    prediction: Prediction | str
    fed: Tensor
    solver: str | None = None
    shift: float | None = None
    cfg: float | None = None
    latent: tuple[int, int, int] | None = None
    strengths: tuple[float, ...] = ()
    from_noise: bool = False
    is_shared: bool = False


def find_deviations(contract: SamplingContract, seen: SeenSampling) -> list[Mismatch]:
    """Return where a sampling differs from the contract, or from the nearest of its alternatives; empty when nowhere.

    An output that is read as another prediction cannot give an image, so that mismatch is fatal.

    Args:
        contract: Of the model.
        seen: What is about to be done with it.
    """
    return min((list(_find(one, seen)) for one in (contract, *contract.alternatives)), key=len)


def format_both_timesteps(contract: SamplingContract, seen: SeenSampling) -> str:
    """Return the timesteps of the contract and those that the network is about to be fed, empty where they are one.

    Args:
        contract: Of the model.
        seen: What is about to be done with it.
    """
    trained, fed = format_timesteps(contract.schedule()), format_timestep_list(seen.fed.tolist())
    return "" if trained == fed else f"Timesteps: trained {trained}, here {fed}."


def _find(contract: SamplingContract, seen: SeenSampling) -> Iterator[Mismatch]:
    if seen.prediction != contract.prediction:
        yield make_mismatch(contract, "prediction", contract.prediction, seen.prediction)._replace(is_fatal=True)
        yield from _compare_solver(contract, seen)
        return
    yield from _compare_solver(contract, seen)
    yield from _compare_noise(contract, seen)
    yield from _compare_settings(contract, seen)


def _compare_solver(contract: SamplingContract, seen: SeenSampling) -> Iterator[Mismatch]:
    if seen.solver is not None and seen.solver != contract.solver:
        yield make_mismatch(contract, "solver", contract.solver, seen.solver)


def _compare_noise(contract: SamplingContract, seen: SeenSampling) -> Iterator[Mismatch]:
    """Compare sigmas and timesteps; one reason for other timesteps is enough."""
    if contract.process == FLOW:
        found = check_few_steps(contract, seen.sigmas) or _compare_shift(contract, seen) or _compare_fed(contract, seen)
        if found is None and seen.from_noise:
            found = _compare_start(contract, seen)
    else:
        found = _compare_fed(contract, seen)
    if found is not None:
        yield found
    yield from _compare_role(contract, seen)


def _compare_shift(contract: SamplingContract, seen: SeenSampling) -> Mismatch | None:
    if contract.has_fixed_sigmas:
        return None
    inferred = infer_shift(seen.sigmas)
    shift = seen.shift if inferred is None else round(inferred, 3)
    if shift is None or math.isclose(shift, contract.shift, rel_tol=1e-3):
        return None
    return make_mismatch(contract, "shift", contract.shift, shift)


def _compare_fed(contract: SamplingContract, seen: SeenSampling) -> Mismatch | None:
    """Compare what is fed: to the digit at the very sigmas of training, elsewhere to the rounding."""
    trained, tolerance = _find_trained(contract, seen.sigmas[:-1].tolist())
    if all(abs(own - fed) <= tolerance for own, fed in zip(trained, seen.fed.tolist(), strict=True)):
        return None
    declared, asked = format_timestep_list(trained), format_timestep_list(seen.fed.tolist())
    return make_mismatch(contract, "timesteps", declared, asked)


def _find_trained(contract: SamplingContract, sigmas: list[float]) -> tuple[list[float], float]:
    """Return what training fed at sigmas, and how far from it is still the same."""
    if contract.process != FLOW:
        return [float(ddim_timestep(ratio)) for ratio in sigmas], _SAME_ROUNDED
    if not contract.has_fixed_sigmas and contract.timesteps is None:
        return [TRAIN_TIMESTEPS * sigma for sigma in sigmas], _SAME_ROUNDED
    schedule = contract.schedule()
    nearest = [min(schedule.sigma_values[:-1], key=lambda own: abs(own - sigma)) for sigma in sigmas]
    return [float(schedule.timestep_at(sigma)) for sigma in nearest], _SAME_TIMESTEP


def _compare_start(contract: SamplingContract, seen: SeenSampling) -> Mismatch | None:
    """Find an empty latent that is sampled from the middle: the network takes noise for an image that is not there."""
    first, given = contract.schedule().sigma_values[0], float(seen.sigmas[0])
    if given >= first - SAME_SIGMA:
        return None
    remedy = "Set denoise to 1, or give an image as latent."
    sentence = (
        f"The latent is empty, but the run starts at timestep {given * TRAIN_TIMESTEPS:.4g} instead of "
        f"{first * TRAIN_TIMESTEPS:.4g}. {remedy}"
    )
    return Mismatch("first sigma", f"{first:.4g}", f"{given:.4g}", remedy, sentence)


def _compare_role(contract: SamplingContract, seen: SeenSampling) -> Iterator[Mismatch]:
    """Find an expert that is asked at the timesteps of the other one."""
    boundary = contract.expert_boundary
    if seen.is_shared or boundary is None or contract.role not in ("high", "low"):
        return
    high = contract.role == "high"
    foreign = [fed for fed in seen.fed.tolist() if is_high_noise(fed, boundary) != high]
    if foreign:
        side, edge = ("below", "end") if high else ("from", "start")
        remedy = f"Let its steps {edge} there, or use WanLiteExpertsGuider."
        sentence = (
            f"This MODEL is the {contract.role}-noise expert, but it is asked at timesteps "
            f"{format_timestep_list(foreign)}, {side} the boundary {boundary * TRAIN_TIMESTEPS:g}. {remedy}"
        )
        yield Mismatch("role", contract.role, "both", remedy, sentence)


def _compare_settings(contract: SamplingContract, seen: SeenSampling) -> Iterator[Mismatch]:
    if seen.cfg is not None and not math.isclose(seen.cfg, contract.cfg, rel_tol=1e-6):
        yield make_mismatch(contract, "cfg", contract.cfg, seen.cfg)
    if contract.latent is not None and seen.latent is not None and seen.latent != contract.latent:
        yield make_mismatch(contract, "latent", *("x".join(map(str, size)) for size in (contract.latent, seen.latent)))
    trained = contract.lora_strength
    if trained is None or not seen.strengths:
        return
    if not any(math.isclose(strength, trained, rel_tol=1e-3) for strength in seen.strengths):
        yield make_mismatch(contract, "lora_strength", trained, seen.strengths[0])
