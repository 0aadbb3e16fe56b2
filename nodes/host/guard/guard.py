"""The guard: a wrapper around every sampling with a MODEL that carries a contract.

Samplers in one node have compared before they start. A SAMPLER of this pack brings its own ``on_mismatch``. For any
other, which knows nothing of contracts, what cannot give an image is an error, and every other difference a warning on
the node and in the log. See docs/notes/0018-guard.md.
"""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
from torch import Tensor

from ....samplers.contract import SamplingContract
from ....samplers.mismatch import Mismatch
from ....samplers.seen import find_deviations, format_both_timesteps
from ..checks import CONTRACT_ATTACHMENT, check_sigmas, get_contract, report_mismatches
from ..progress import show_refusals
from .observe import find_run, observe_sampling
from .record import repeat_record
from .stages import StageMemory

GUARD_ATTACHMENT = "wan_lite.guard"
_KEY = "wan_lite.guard"
_OUTER_SAMPLE = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
_stages = StageMemory()


def attach_contract(model: Any, contract: SamplingContract, on_mismatch: str = "error") -> None:
    """Give a MODEL its contract, and the guard that holds samplings against it.

    Args:
        model: The MODEL, which is changed; a clone of it keeps both.
        contract: The contract, which replaces the MODEL's own.
        on_mismatch: Of core's samplers: ``error`` stops where no image can come of it and warns of the rest, ``warn``
            only warns, ``ignore`` compares nothing.
    """
    model.set_attachments(CONTRACT_ATTACHMENT, contract)
    model.set_attachments(GUARD_ATTACHMENT, on_mismatch)
    model.remove_wrappers_with_key(_OUTER_SAMPLE, _KEY)
    model.add_wrapper_with_key(_OUTER_SAMPLE, _KEY, guard_outer_sample)


def guard_outer_sample(
    executor: Any, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Compare, then sample as the host's ``outer_sample`` does, with the record in this run's images."""
    compare_sampling(executor.class_obj, noise, latent_image, sampler, sigmas, get_seed(args, kwargs))
    repeat_record(executor.class_obj.model_patcher)
    out: Tensor = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
    _stages.remember(sampler, sigmas, get_seed(args, kwargs), out)
    return out


def get_seed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Return the seed among the arguments that follow sigmas in the host's ``outer_sample``."""
    seed = kwargs.get("seed", args[3] if len(args) > 3 else None)
    return seed if isinstance(seed, int) else None


@show_refusals()
def compare_sampling(
    guider: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, seed: int | None
) -> None:
    """Compare what is about to be sampled with the MODEL's contract, and say what differs.

    Raises:
        ValueError: It is not what the contract says, and that is to stop it.
    """
    model, run = guider.model_patcher, find_run(sampler)
    contract = get_contract(model)
    on_mismatch = model.get_attachment(GUARD_ATTACHMENT) if run is None else run.on_mismatch
    has_compared = run is not None and run.schedule is not None  # its node has
    if contract is None or len(sigmas) < 2 or on_mismatch == "ignore" or has_compared:
        return
    seen = observe_sampling(guider, noise, latent, sampler, sigmas)
    if seen is None:
        return
    found = find_deviations(contract, seen)
    if run is None:
        wrong_sigmas = check_sigmas(model.get_model_object("model_sampling"), sigmas, seen.from_noise)
        found += as_mismatches("process of the sigmas", wrong_sigmas, is_fatal=True)
        found += as_mismatches("noise", _stages.check(sampler, seed, latent))
    if found:
        closing = format_both_timesteps(contract, seen)
        report_mismatches(contract, found, on_mismatch, closing=closing, is_strict=run is not None)


def as_mismatches(field: str, sentence: str | None, *, is_fatal: bool = False) -> list[Mismatch]:
    """Return a check's sentence as mismatches: one or none."""
    return [] if sentence is None else [Mismatch(field, "of training", "another", "", sentence, is_fatal)]
