"""What each field of a sampling contract may be, and a sentence for everything else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .prediction import Prediction
from .schedule import LARGEST_SHIFT, MOST_STEPS, Schedule
from .solvers import SOLVERS
from .timesteps import TIMESTEP_CASTS, TRAIN_TIMESTEPS

if TYPE_CHECKING:
    from .contract import SamplingContract

__all__ = ["VERSION_1_FIELDS", "Causal", "ContractError", "check_record", "check_schedule", "uses_version_2"]

_LARGEST_SIDE = 2**16  # of a latent; a damaged record must not ask for terabytes
_LARGEST_COUNT = 2**16  # of frames, of tokens
_LARGEST_STRENGTH = 100.0
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "solver": tuple(SOLVERS),
    "prediction": tuple(kind.value for kind in (Prediction.EPSILON, Prediction.VELOCITY)),
    "num_train_timesteps": (TRAIN_TIMESTEPS,),
    "timestep_cast": TIMESTEP_CASTS,
    "vae": ("wan2.1", "wan2.2", "qwen-image"),
    "text_pool": ("mean_unpadded", "mean_padded"),
    "output_projection": (True, False),
    "source": ("declared", "sidecar", "recognised", "assumed"),
    "warp": (True, False),
    "role": (None, "high", "low", "both"),
}
_VERSION_1: dict[str, tuple[Any, ...]] = {
    "solver": ("ddim", "flow_unipc", "flow_dpmpp"),
    "timestep_cast": ("int64_trunc",),
    "vae": ("wan2.1", "wan2.2"),
    "text_pool": ("mean_unpadded",),
    "source": ("declared", "sidecar", "assumed"),
}
VERSION_1_FIELDS = (
    "solver",
    "prediction",
    "steps",
    "shift",
    "cfg",
    "num_train_timesteps",
    "timestep_cast",
    "latent",
    "vae",
    "text_pool",
    "output_projection",
    "source",
)
"""The fields of version 1, in the order in which files have them."""

RULES = ("denoising_steps", "sigma_max", "levels")
"""The rules of which a contract has at most one; without one, ``steps`` and ``shift`` are the rule."""


class ContractError(ValueError):
    """A contract that cannot be read or makes no sense, said in one sentence."""


@dataclass(frozen=True)
class Causal:
    """How a causal student makes a video.

    Args:
        block: how many latent frames it makes at a time.
        context_timestep: what the network is fed when it writes a finished block into its cache.

    Raises:
        ContractError: a value is out of its range.
    """

    block: int
    context_timestep: float = 0

    def __post_init__(self) -> None:
        _check_count("causal.block", self.block)
        if not _is_number(self.context_timestep) or not 0 <= self.context_timestep <= TRAIN_TIMESTEPS:
            raise ContractError(
                f"contract: causal.context_timestep is {self.context_timestep!r}; allowed are numbers from 0 to "
                f"{TRAIN_TIMESTEPS}."
            )


def uses_version_2(contract: SamplingContract, defaults: Mapping[str, Any]) -> bool:
    """Return whether a contract says something that version 1 has no word for.

    Args:
        contract: the record.
        defaults: of the fields that version 1 has not.
    """
    return any(getattr(contract, name) not in allowed for name, allowed in _VERSION_1.items()) or any(
        getattr(contract, name) != value for name, value in defaults.items()
    )


def check_record(contract: SamplingContract) -> None:
    """Check every field by itself, and those that exclude or need each other.

    Raises:
        ContractError: the first thing that is wrong.
    """
    for name, allowed in _ALLOWED.items():
        if getattr(contract, name) not in allowed:
            choices = ", ".join(repr(value) for value in allowed if value is not None)
            raise ContractError(f"contract: {name} is {getattr(contract, name)!r}; allowed: {choices}.")
    _check_process(contract)
    if type(contract.steps) is not int or not 1 <= contract.steps <= MOST_STEPS:
        raise ContractError(f"contract: steps is {contract.steps!r}; allowed are whole numbers from 1 to {MOST_STEPS}.")
    for name, least, most in (("shift", 0.0, LARGEST_SHIFT), ("cfg", -LARGEST_SHIFT, LARGEST_SHIFT)):
        _check_number(name, getattr(contract, name), least, most)
    _check_count("frames", contract.frames)
    if contract.lora_strength is not None:
        _check_number("lora_strength", contract.lora_strength, 0.0, _LARGEST_STRENGTH)
    if contract.causal is not None and not isinstance(contract.causal, Causal):
        raise ContractError(f"contract: causal is {contract.causal!r}; give an object with block and context_timestep.")
    _check_text(contract)
    _check_rule(contract)
    _check_alternatives(contract)


def check_schedule(contract: SamplingContract, schedule: Schedule) -> None:
    """Check what is said about the steps of a schedule: a table of timesteps, and the boundary between two experts.

    Raises:
        ContractError: the table has another length or rises, or the boundary leaves one expert without a step.
    """
    if contract.timesteps is not None:
        _check_table(contract.timesteps, schedule.steps)
    fed = schedule.timesteps.tolist() if schedule.timesteps is not None else []
    step, boundary = contract.boundary_step, contract.boundary
    if step is not None and (type(step) is not int or not 0 < step < schedule.steps):
        raise ContractError(
            f"contract: boundary_step is {step!r}; the low-noise expert takes over at a whole number from 1 to "
            f"{schedule.steps - 1} of {schedule.steps} steps."
        )
    if boundary is None:
        return
    _check_number("boundary", boundary, 0.0, 1.0)
    if not 0 < sum(timestep >= boundary * TRAIN_TIMESTEPS for timestep in fed) < len(fed):
        raise ContractError(
            f"contract: boundary is {boundary!r}, outside the timesteps {_shorten(fed)}, so one expert would have no "
            f"step; give a number between {fed[-1] / TRAIN_TIMESTEPS:.4g} and {fed[0] / TRAIN_TIMESTEPS:.4g}."
        )


def parse_latent(value: Any) -> tuple[int, int, int]:
    """Return (channels, height, width) from an object with these names or from a list.

    Raises:
        ContractError: it is not three whole numbers in their range.
    """
    parts: Any = [value.get(name) for name in ("channels", "height", "width")] if isinstance(value, Mapping) else value
    good = isinstance(parts, list | tuple) and len(parts) == 3
    if not good or not all(type(part) is int and 0 < part <= _LARGEST_SIDE for part in parts):
        raise ContractError(
            f"contract: latent is {value!r}; give channels, height and width, whole numbers from 1 to {_LARGEST_SIDE}."
        )
    channels, height, width = map(int, parts)
    return channels, height, width


def _check_process(contract: SamplingContract) -> None:
    solver, prediction = contract.solver, Prediction(contract.prediction)
    own = SOLVERS[solver].schedules
    if prediction.process not in own:
        others = [name for name, other in SOLVERS.items() if prediction.process in other.schedules]
        fitting = [kind.value for kind in (Prediction.EPSILON, Prediction.VELOCITY) if kind.process in own]
        raise ContractError(
            f"contract: solver is '{solver}', which works in the {' and '.join(process.name for process in own)} "
            f"process, but prediction is '{prediction}'; set solver to {' or '.join(map(repr, others))} or prediction "
            f"to {' or '.join(map(repr, fitting))}."
        )


def _check_text(contract: SamplingContract) -> None:
    if (contract.text_pool == "mean_padded") != (contract.text_length is not None):
        raise ContractError(
            f"contract: text_pool is {contract.text_pool!r} and text_length is {contract.text_length!r}; 'mean_padded' "
            "needs the length that prompts were padded to, and 'mean_unpadded' has none."
        )
    _check_count("text_length", contract.text_length)


def _check_rule(contract: SamplingContract) -> None:
    """Check which rule there is, and what goes with it; the numbers of a rule are checked by its schedule."""
    given = [name for name in RULES if getattr(contract, name) is not None]
    _check_lists(contract)
    if len(given) > 1:
        raise ContractError(f"contract: {' and '.join(given)} are both given; keep the one rule that training had.")
    table = contract.timesteps is not None
    casts = ["timestep_cast"] if contract.timestep_cast != "int64_trunc" else []
    flow_only = [*given, *(["timesteps"] if table else []), *casts]
    if flow_only and contract.prediction == Prediction.EPSILON:
        raise ContractError(
            f"contract: {flow_only[0]} is {getattr(contract, flow_only[0])!r}, which belongs to the flow process, but "
            "prediction is 'epsilon'; set prediction to 'velocity' or leave it out."
        )
    if not contract.warp and contract.denoising_steps is None:
        raise ContractError("contract: warp is False, but there are no denoising_steps; give them or leave warp out.")
    named = contract.denoising_steps if contract.denoising_steps is not None else contract.levels
    if isinstance(named, Sequence) and len(named) != contract.steps:
        raise ContractError(
            f"contract: steps is {contract.steps}, but {given[0]} has {len(named)} entries; set steps to that or leave "
            "it out."
        )
    if table and contract.timestep_cast != "table":
        raise ContractError(
            f"contract: timesteps are given, but timestep_cast is '{contract.timestep_cast}'; set it to 'table' or "
            "leave the timesteps out."
        )
    if contract.timestep_cast == "table" and not table and (contract.denoising_steps is None or contract.warp):
        raise ContractError(
            "contract: timestep_cast is 'table', but no timesteps are given; give one for each step, or "
            "denoising_steps with warp false, which are their own table."
        )
    if contract.boundary is not None and contract.boundary_step is not None:
        raise ContractError(
            f"contract: boundary is {contract.boundary!r} and boundary_step is {contract.boundary_step!r}; give one."
        )


def _check_lists(contract: SamplingContract) -> None:
    for name in ("denoising_steps", "levels", "timesteps", "alternatives"):
        value = getattr(contract, name)
        if value is not None and not isinstance(value, tuple):
            raise ContractError(f"contract: {name} is {_shorten(value)}; give a list.")
        if value == () and name != "alternatives":
            raise ContractError(f"contract: {name} is an empty list; give one entry for each step, or leave it out.")
    if contract.sigma_max is not None:
        _check_number("sigma_max", contract.sigma_max, 0.0, LARGEST_SHIFT)
    levels = contract.levels
    if levels is None:
        return
    numbers = all(_is_number(level) for level in levels)
    if not numbers or not 1 >= levels[0] >= levels[-1] > 0:
        raise ContractError(
            f"contract: levels is {_shorten(levels)}; give sigmas from 1 or below down, above 0 (the final 0 is "
            "understood)."
        )
    if any(later >= earlier for earlier, later in itertools.pairwise(levels)):
        raise ContractError(f"contract: levels is {_shorten(levels)}; each must be smaller than the one before.")


def _check_table(timesteps: Any, steps: int) -> None:
    numbers = isinstance(timesteps, tuple) and all(_is_number(t) and 0 <= t <= TRAIN_TIMESTEPS for t in timesteps)
    if not numbers or any(later > earlier for earlier, later in itertools.pairwise(timesteps)):
        raise ContractError(
            f"contract: timesteps is {_shorten(timesteps)}; give numbers from {TRAIN_TIMESTEPS} down to 0, none above "
            "the one before."
        )
    if len(timesteps) != steps:
        raise ContractError(
            f"contract: timesteps has {len(timesteps)} entries, but there are {steps} steps; give one for each."
        )


def _check_alternatives(contract: SamplingContract) -> None:
    for other in contract.alternatives:
        if not isinstance(other, type(contract)) or other.alternatives:
            raise ContractError(
                f"contract: an alternative is {_shorten(other)}; give complete contracts without alternatives of their "
                "own."
            )


def _check_count(name: str, value: Any) -> None:
    if value is not None and (type(value) is not int or not 1 <= value <= _LARGEST_COUNT):
        raise ContractError(f"contract: {name} is {value!r}; allowed are whole numbers from 1 to {_LARGEST_COUNT}.")


def _check_number(name: str, value: Any, above: float, most: float) -> None:
    if not _is_number(value) or not above < value <= most:
        raise ContractError(f"contract: {name} is {value!r}; allowed are numbers above {above:g} up to {most:g}.")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
