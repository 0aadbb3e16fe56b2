"""Where a sampling differs from its contract or cannot give an image, in sentences, and what is done about them.

Each check returns a sentence with both values and the remedy, or None where all is well; :func:`raise_or_warn` raises,
logs or drops the sentences as the user's ``on_mismatch`` says.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from .contract import SamplingContract
from .process import FLOW, VP
from .timesteps import TRAIN_TIMESTEPS

__all__ = [
    "ON_MISMATCH",
    "ContractMismatch",
    "Mismatch",
    "check_few_steps",
    "check_leftover",
    "check_on_mismatch",
    "compare",
    "raise_or_warn",
]

log = logging.getLogger(__name__)

ON_MISMATCH = ("error", "warn", "ignore")
FEW_STEPS = 8  # a model distilled to this many steps or fewer knows those timesteps only
_SAME_SIGMA = 2e-3
_PROCESS_NAMES = {VP: "the DDIM process", FLOW: "the flow process"}


class ContractMismatch(ValueError):
    """A sampling that is not what the checkpoint's contract says; each difference is one line of the message."""


def check_on_mismatch(on_mismatch: str) -> None:
    """Raise ValueError where ``on_mismatch`` is not one of ``ON_MISMATCH``."""
    if on_mismatch not in ON_MISMATCH:
        raise ValueError(f"on_mismatch is {on_mismatch!r}; allowed: {', '.join(ON_MISMATCH)}.")


def raise_or_warn(problems: Iterable[str | None], on_mismatch: str = "error", *, way_out: str = "") -> None:
    """Raise (``error``), log (``warn``) or drop (``ignore``) the sentences that are not None.

    Args:
        problems: the sentences of the checks.
        on_mismatch: one of ``ON_MISMATCH``.
        way_out: added to an error.

    Raises:
        ContractMismatch: with every sentence on its own line.
        ValueError: ``on_mismatch`` is none of the three.
    """
    check_on_mismatch(on_mismatch)
    found = [problem for problem in problems if problem]
    if not found or on_mismatch == "ignore":
        return
    if on_mismatch == "error":
        raise ContractMismatch("\n".join(found) + way_out)
    for problem in found:
        log.warning("Wan Lite: %s", problem)


class Mismatch(NamedTuple):
    """One field in which a sampling differs from the contract; ``str()`` is the sentence with the remedy."""

    field: str
    declared: object
    requested: object
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.field}: the checkpoint's contract says {self.declared}, but {self.requested} was asked for. "
            f"{self.remedy}"
        )


_REMEDIES = {
    "solver": "Use the {0} sampler, or stamp the checkpoint with another contract.",
    "prediction": "Read the output as {0} ({process}), or stamp the checkpoint with another contract.",
    "shift": "Set shift to {0}, and take out any other node that shifts.",
    "num_train_timesteps": "Sample with timesteps out of {0}.",
    "timestep_cast": "Feed the timesteps as {0}.",
    "vae": "Load the {0} VAE.",
    "text_pool": "Pool the text as {0}.",
    "output_projection": "Load the checkpoint together with the output_proj that its contract speaks of.",
    "latent": "Give latents of {0} channels.",
}


def compare(contract: SamplingContract, requested: SamplingContract) -> list[Mismatch]:
    """Return the differences that change what the checkpoint samples from what training meant; empty when none.

    Steps, guidance and the image's size are the user's to choose and are not compared; of the latent only the
    channels are, where both are known.
    """
    pairs = {name: (getattr(contract, name), getattr(requested, name)) for name in _REMEDIES}
    pairs["latent"] = tuple(side and side[0] for side in pairs["latent"])
    if None in pairs["latent"]:
        del pairs["latent"]
    return [
        Mismatch(name, declared, asked, _REMEDIES[name].format(declared, process=_PROCESS_NAMES[contract.process]))
        for name, (declared, asked) in pairs.items()
        if not (declared == asked or (name == "shift" and math.isclose(declared, asked, rel_tol=1e-6)))
    ]


def check_leftover(sigmas: Tensor, solver: str, order: int) -> str | None:
    """Find sigmas that stop above 0: the latent is still noisy, and a solver's history is lost there.

    Args:
        sigmas: (n + 1,), falling.
        solver: its name.
        order: how many predictions it combines.
    """
    last = float(sigmas[-1])
    if last == 0.0:
        return None
    remedy = "Feed all steps, or set on_mismatch to ignore here if a second sampler continues from this latent"
    if order > 1:
        remedy += (
            f"; {solver} of order {order} then starts anew without its history, so the result is not that of one run "
            "(DDIM, or order 1, continues exactly)"
        )
    return f"SIGMAS end at {last:.4g} instead of 0, so the latent keeps its noise. {remedy}."


def check_few_steps(contract: SamplingContract | None, sigmas: Tensor) -> str | None:
    """Find sigmas that a flow model distilled to a few steps was never trained on.

    Args:
        contract: the model's, or None.
        sigmas: (n + 1,) of the flow process, falling.
    """
    if contract is None or contract.steps > FEW_STEPS or contract.process != FLOW:
        return None
    trained = contract.schedule().sigmas[:-1]
    given = sigmas[:-1].double().cpu()
    distance = (given[:, None] - trained[None, :]).abs().min(dim=1).values.max()
    if float(distance) <= _SAME_SIGMA:
        return None
    return (
        f"This MODEL was distilled to {contract.steps} steps at timesteps {_format_timesteps(trained)}, but the SIGMAS "
        f"visit {_format_timesteps(given)}. Use WanLiteContractSampling, or WanLiteFlowSchedule with steps "
        f"{contract.steps} and shift {contract.shift:g}."
    )


def _format_timesteps(sigmas: Tensor) -> str:
    """Flow sigmas as timesteps, at most eight of them."""
    shown = [f"{sigma * TRAIN_TIMESTEPS:.4g}" for sigma in sigmas.tolist()[:8]]
    return "[" + ", ".join(shown) + (", ...]" if len(sigmas) > 8 else "]")
