"""What each field of a sampling contract may be, and a sentence for everything else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..printable import SentenceError
from ..training_rules import TIMESTEP_CASTS, TRAIN_TIMESTEPS, is_high_noise
from .prediction import STUDENT_PREDICTIONS, Prediction
from .process import FLOW
from .schedule import LARGEST_SHIFT, MOST_STEPS, Schedule
from .solvers import SOLVERS

if TYPE_CHECKING:
    from .contract import SamplingContract

__all__ = ["RULES", "VERSION_1_FIELDS", "Causal", "ContractError", "check_record", "check_schedule", "uses_version_2"]

_LARGEST_SIDE = 2**16  # of a latent; a damaged record must not ask for terabytes
_LARGEST_COUNT = 2**16  # of frames, of tokens
_LARGEST_STRENGTH = 100.0
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "solver": tuple(SOLVERS),
    "prediction": tuple(kind.value for kind in STUDENT_PREDICTIONS),
    "num_train_timesteps": (TRAIN_TIMESTEPS,),
    "timestep_cast": TIMESTEP_CASTS,
    "vae": ("wan2.1", "wan2.2", "qwen-image"),
    "text_pool": ("mean_unpadded", "mean_padded"),
    "output_projection": (True, False),
    "source": ("declared", "sidecar", "recognised", "assumed"),
    "warp": (True, False),
    "role": (None, "high", "low", "both"),
}
_RANGES = {
    "shift": (0.0, LARGEST_SHIFT),
    "cfg": (-LARGEST_SHIFT, LARGEST_SHIFT),
    "sigma_max": (0.0, LARGEST_SHIFT),
    "lora_strength": (0.0, _LARGEST_STRENGTH),
}
"""Above the first number, up to the second."""
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


class ContractError(SentenceError):
    """A contract that cannot be read or makes no sense, said in one sentence."""


@dataclass(frozen=True)
class Causal:
    """How a causal student makes a video.

    Args:
        block: How many latent frames it makes at a time.
        context_timestep: What the network is fed when it writes a finished block into its cache.

    Raises:
        ContractError: A value is out of its range.
    """

    block: int
    context_timestep: float = 0

    def __post_init__(self) -> None:
        _check_count("causal.block", self.block)
        fed = self.context_timestep
        good = _is_number(fed) and 0 <= fed <= TRAIN_TIMESTEPS
        _require(good, f"causal.context_timestep is {fed!r}; allowed are numbers from 0 to {TRAIN_TIMESTEPS}")


def uses_version_2(contract: SamplingContract, defaults: Mapping[str, Any]) -> bool:
    """Return whether a contract says something that version 1 has no word for.

    Args:
        contract: The record.
        defaults: Of the fields that version 1 has not.
    """
    return any(getattr(contract, name) not in allowed for name, allowed in _VERSION_1.items()) or any(
        getattr(contract, name) != value for name, value in defaults.items()
    )


def check_record(contract: SamplingContract) -> None:
    """Check every field by itself, and those that exclude or need each other; raise the first thing that is wrong."""
    for check in _RECORD_CHECKS:
        check(contract)


def check_schedule(contract: SamplingContract, schedule: Schedule) -> None:
    """Check what is said about the steps of a schedule: a table of timesteps, and the boundary between two experts.

    Raises:
        ContractError: The table has another length or rises, or the boundary leaves one expert without a step.
    """
    if contract.timesteps is not None:
        _check_table(contract.timesteps, schedule.steps)
    if contract.boundary_step is not None:
        _check_boundary_step(contract.boundary_step, schedule.steps)
    if contract.boundary is not None and schedule.timesteps is not None:
        _check_boundary(contract.boundary, schedule.timesteps.tolist())


def parse_latent(value: Any) -> tuple[int, int, int]:
    """Return (channels, height, width) from an object with these names or from a list, or raise a ContractError."""
    parts: Any = [value.get(name) for name in ("channels", "height", "width")] if isinstance(value, Mapping) else value
    good = isinstance(parts, list | tuple) and len(parts) == 3
    good = good and all(type(part) is int and 0 < part <= _LARGEST_SIDE for part in parts)
    _require(good, f"latent is {value!r}; give channels, height and width, whole numbers from 1 to {_LARGEST_SIDE}")
    channels, height, width = map(int, parts)
    return channels, height, width


# One field -----------------------------------------------------------------------------------------------------------


def _check_choices(contract: SamplingContract) -> None:
    for name, allowed in _ALLOWED.items():
        value, choices = getattr(contract, name), ", ".join(repr(value) for value in allowed if value is not None)
        _require(value in allowed, f"{name} is {value!r}; allowed: {choices}")


def _check_numbers(contract: SamplingContract) -> None:
    good = type(contract.steps) is int and 1 <= contract.steps <= MOST_STEPS
    _require(good, f"steps is {contract.steps!r}; allowed are whole numbers from 1 to {MOST_STEPS}")
    for name, (above, most) in _RANGES.items():
        if (value := getattr(contract, name)) is not None or name in ("shift", "cfg"):
            _check_number(name, value, above, most)
    for name in ("frames", "text_length"):
        _check_count(name, getattr(contract, name))
    good = contract.causal is None or isinstance(contract.causal, Causal)
    _require(good, f"causal is {contract.causal!r}; give an object with block and context_timestep")


def _check_lists(contract: SamplingContract) -> None:
    for name in ("denoising_steps", "levels", "timesteps", "alternatives"):
        value = getattr(contract, name)
        _require(value is None or isinstance(value, tuple), f"{name} is {_shorten(value)}; give a list")
        filled = value != () or name == "alternatives"
        _require(filled, f"{name} is an empty list; give one entry for each step, or leave it out")
    if contract.levels is not None:
        _check_levels(contract.levels)
    for other in contract.alternatives:
        _check_alternative(other, contract)


def _check_levels(levels: tuple[Any, ...]) -> None:
    good = all(_is_number(level) for level in levels) and 1 >= levels[0] >= levels[-1] > 0
    ends = "give sigmas from 1 or below down, above 0 (the final 0 is understood)"
    _require(good, f"levels is {_shorten(levels)}; {ends}")
    falls = all(later < earlier for earlier, later in itertools.pairwise(levels))
    _require(falls, f"levels is {_shorten(levels)}; each must be smaller than the one before")


def _check_alternative(other: Any, contract: SamplingContract) -> None:
    good = isinstance(other, type(contract)) and not other.alternatives
    remedy = "give complete contracts without alternatives of their own"
    _require(good, f"an alternative is {_shorten(other)}; {remedy}")


# Fields together -----------------------------------------------------------------------------------------------------


def _check_process(contract: SamplingContract) -> None:
    solver, prediction = contract.solver, Prediction(contract.prediction)
    own = SOLVERS[solver].schedules
    others = [name for name, other in SOLVERS.items() if prediction.process in other.schedules]
    fitting = [kind.value for kind in STUDENT_PREDICTIONS if kind.process in own]
    _require(
        prediction.process in own,
        f"solver is '{solver}', which works in the {' and '.join(process.name for process in own)} process, but "
        f"prediction is '{prediction}'; set solver to {' or '.join(map(repr, others))} or prediction to "
        f"{' or '.join(map(repr, fitting))}",
    )


def _check_text(contract: SamplingContract) -> None:
    good = (contract.text_pool == "mean_padded") == (contract.text_length is not None)
    found = f"text_pool is {contract.text_pool!r} and text_length is {contract.text_length!r}"
    _require(good, f"{found}; 'mean_padded' needs the length that prompts were padded to, 'mean_unpadded' has none")


def _check_rule(contract: SamplingContract) -> None:
    """Check which rule there is, and what goes with it; the numbers of a rule are checked by its schedule."""
    given = [name for name in RULES if getattr(contract, name) is not None]
    _require(len(given) < 2, f"{' and '.join(given)} are both given; keep the one rule that training had")
    for name in (*given, "timesteps", "timestep_cast"):
        _check_flow(name, contract)
    good = contract.warp or contract.denoising_steps is not None
    _require(good, "warp is False, but there are no denoising_steps; give them or leave warp out")
    if given and given[0] != "sigma_max":
        _check_length(given[0], len(getattr(contract, given[0])), contract.steps)


def _check_flow(name: str, contract: SamplingContract) -> None:
    value, prediction = getattr(contract, name), Prediction(contract.prediction)
    good = value in (None, "int64_trunc") or prediction.process == FLOW
    found = f"{name} is {value!r}, which belongs to {FLOW.label}, but prediction is '{prediction}'"
    _require(good, f"{found}; set prediction to '{Prediction.of_process(FLOW)}' or leave it out")


def _check_length(name: str, length: int, steps: int) -> None:
    _require(length == steps, f"steps is {steps}, but {name} has {length} entries; set steps to that or leave it out")


def _check_cast(contract: SamplingContract) -> None:
    cast, has_table = contract.timestep_cast, contract.timesteps is not None
    good = cast == "table" or not has_table
    _require(good, f"timesteps are given, but timestep_cast is '{cast}'; set it to 'table' or leave the timesteps out")
    good = cast != "table" or has_table or (contract.denoising_steps is not None and not contract.warp)
    remedy = "give one for each step, or denoising_steps with warp false, which are their own table"
    _require(good, f"timestep_cast is 'table', but no timesteps are given; {remedy}")


def _check_one_boundary(contract: SamplingContract) -> None:
    good = contract.boundary is None or contract.boundary_step is None
    _require(good, f"boundary is {contract.boundary!r} and boundary_step is {contract.boundary_step!r}; give one")


_RECORD_CHECKS = (
    _check_choices,
    _check_process,
    _check_numbers,
    _check_lists,
    _check_text,
    _check_rule,
    _check_cast,
    _check_one_boundary,
)


# Fields and the schedule ---------------------------------------------------------------------------------------------


def _check_table(timesteps: tuple[Any, ...], steps: int) -> None:
    _check_falling(timesteps)
    found = f"timesteps has {len(timesteps)} entries, but there are {steps} steps"
    _require(len(timesteps) == steps, f"{found}; give one for each")


def _check_falling(timesteps: tuple[Any, ...]) -> None:
    good = all(_is_number(timestep) and 0 <= timestep <= TRAIN_TIMESTEPS for timestep in timesteps)
    good = good and all(later <= earlier for earlier, later in itertools.pairwise(timesteps))
    remedy = f"give numbers from {TRAIN_TIMESTEPS} down to 0, none above the one before"
    _require(good, f"timesteps is {_shorten(timesteps)}; {remedy}")


def _check_boundary_step(step: Any, steps: int) -> None:
    rule = f"the low-noise expert takes over at a whole number from 1 to {steps - 1} of {steps} steps"
    _require(type(step) is int and 0 < step < steps, f"boundary_step is {step!r}; {rule}")


def _check_boundary(boundary: Any, fed: list[float]) -> None:
    _check_number("boundary", boundary, 0.0, 1.0)
    good = 0 < sum(is_high_noise(timestep, boundary) for timestep in fed) < len(fed)
    found = f"boundary is {boundary!r}, outside the timesteps {_shorten(fed)}, so one expert would have no step"
    remedy = f"give a number between {fed[-1] / TRAIN_TIMESTEPS:.4g} and {fed[0] / TRAIN_TIMESTEPS:.4g}"
    _require(good, f"{found}; {remedy}")


# Values --------------------------------------------------------------------------------------------------------------


def _require(good: bool, sentence: str) -> None:
    if not good:
        raise ContractError(f"contract: {sentence}.")


def _check_count(name: str, value: Any) -> None:
    good = value is None or (type(value) is int and 1 <= value <= _LARGEST_COUNT)
    _require(good, f"{name} is {value!r}; allowed are whole numbers from 1 to {_LARGEST_COUNT}")


def _check_number(name: str, value: Any, above: float, most: float) -> None:
    good = _is_number(value) and above < value <= most
    _require(good, f"{name} is {value!r}; allowed are numbers above {above:g} up to {most:g}")


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and (isinstance(value, int) or math.isfinite(value))


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
