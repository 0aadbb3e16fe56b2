"""A contract, and what it feeds, in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

from ..training_rules import TRAIN_TIMESTEPS
from .contract import SamplingContract
from .schedule import Schedule

__all__ = ["format_contract", "format_timestep_list", "format_timesteps"]


def format_contract(contract: SamplingContract) -> str:
    """Return a contract in one line.

    Args:
        contract: The contract.
    """
    latent = "x".join(map(str, contract.latent)) if contract.latent else "of unknown size"
    projection = ", then projected" if contract.output_projection else ""
    return (
        f"{contract.solver}, {_format_rule(contract)}, cfg {contract.cfg:g}, output read as "
        f"{contract.prediction}, latent {latent}{projection}, VAE {contract.vae}{_format_more(contract)} "
        f"({contract.source})"
    )


def format_timesteps(schedule: Schedule) -> str:
    """Return what a schedule feeds as text, of more than ten timesteps the first, the last and their number."""
    return format_timestep_list([schedule.timestep_at(sigma) for sigma in schedule.sigma_values[:-1]])


def format_timestep_list(timesteps: Sequence[float]) -> str:
    """Return timesteps as text, of more than ten the first two, the last and their number."""
    fed = [f"{timestep:.6g}" for timestep in timesteps]
    return f"[{', '.join(fed)}]" if len(fed) <= 10 else f"[{fed[0]}, {fed[1]}, ..., {fed[-1]}] ({len(fed)})"


def _format_rule(contract: SamplingContract) -> str:
    count = f"{contract.steps} step{'s' if contract.steps > 1 else ''}"
    if not contract.has_fixed_sigmas:
        return f"{count}, shift {contract.shift:g}"
    return f"{count} at timesteps {format_timesteps(contract.schedule())}"


def _format_more(contract: SamplingContract) -> str:
    """Return what only contracts of version 2 say, each part after a comma."""
    boundary = contract.expert_boundary
    expert = "" if contract.role in (None, "both") else f" ({contract.role}-noise expert)"
    parts = [
        f"text averaged over {contract.text_length} padded tokens" if contract.text_length else "",
        f"experts change at timestep {boundary * TRAIN_TIMESTEPS:g}{expert}" if boundary else "",
        f"{contract.frames} frames" if contract.frames else "",
        f"LoRA at strength {contract.lora_strength:g}" if contract.lora_strength else "",
        f"blocks of {contract.causal.block} latent frames" if contract.causal else "",
        *(f"or {_format_alternative(other, contract)}" for other in contract.alternatives),
    ]
    return "".join(f", {part}" for part in parts if part)


def _format_alternative(other: SamplingContract, contract: SamplingContract) -> str:
    return other.solver if other.solver != contract.solver else _format_rule(other)
