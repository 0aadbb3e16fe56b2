"""The sampling contract: how a checkpoint wants to be sampled, as a small record. Files: see contract_files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .prediction import Prediction
from .process import NoiseProcess
from .schedule import LARGEST_SHIFT, MOST_STEPS, Schedule
from .solver import Solver
from .solvers import SOLVERS

__all__ = ["CONTRACT_KEY", "PRESETS", "ContractError", "SamplingContract", "format_contract", "modelspec"]

CONTRACT_KEY = "wan_lite.sampling_contract"
VERSION = 1
_LARGEST_SIDE = 2**16  # of a latent; a damaged record must not ask for terabytes
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "solver": tuple(SOLVERS),
    "prediction": tuple(kind.value for kind in (Prediction.EPSILON, Prediction.VELOCITY)),
    "num_train_timesteps": (1000,),
    "timestep_cast": ("int64_trunc",),
    "vae": ("wan2.1", "wan2.2"),
    "text_pool": ("mean_unpadded",),
    "output_projection": (True, False),
    "source": ("declared", "sidecar", "assumed"),
}


class ContractError(ValueError):
    """A contract that cannot be read or makes no sense, said in one sentence."""


def _check_version(version: object, origin: str = "contract") -> None:
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        remedy = "update Wan Lite" if newer else "stamp the checkpoint again"
        raise ContractError(f"{origin}: contract version is {version!r}, but this Wan Lite reads {VERSION}; {remedy}.")


def _latent(value: Any) -> tuple[int, int, int]:
    parts: Any = [value.get(name) for name in ("channels", "height", "width")] if isinstance(value, Mapping) else value
    good = isinstance(parts, list | tuple) and len(parts) == 3
    if not good or not all(type(part) is int and 0 < part <= _LARGEST_SIDE for part in parts):
        raise ContractError(
            f"contract: latent is {value!r}; give channels, height and width, whole numbers from 1 to {_LARGEST_SIDE}."
        )
    channels, height, width = map(int, parts)
    return channels, height, width


def _check_process(solver: str, prediction: Prediction) -> None:
    own = SOLVERS[solver].schedules
    if prediction.process not in own:
        others = [name for name, other in SOLVERS.items() if prediction.process in other.schedules]
        fitting = [kind.value for kind in (Prediction.EPSILON, Prediction.VELOCITY) if kind.process in own]
        raise ContractError(
            f"contract: solver is '{solver}', which works in the {' and '.join(process.name for process in own)} "
            f"process, but prediction is '{prediction}'; set solver to {' or '.join(map(repr, others))} or prediction "
            f"to {' or '.join(map(repr, fitting))}."
        )


@dataclass(frozen=True)
class SamplingContract:
    """How a checkpoint wants to be sampled.

    Args:
        solver: a name in ``SOLVERS``: "ddim", "flow_unipc" or "flow_dpmpp".
        prediction: how the output is read: "epsilon" in the DDIM process alpha^2 = 1 - t / 1000, "velocity" in the
            flow process x = (1 - s) x0 + s n. Given as a string it becomes the enum.
        steps: of the sampling that the checkpoint was judged by.
        shift: of that sampling's schedule.
        cfg: its guidance; 1 is none.
        num_train_timesteps: 1000.
        timestep_cast: how the timesteps that training fed were rounded.
        latent: (channels, height, width) of the network's own latents, or None where unknown.
        vae: "wan2.1" or "wan2.2".
        text_pool: how token embeddings become one vector.
        output_projection: whether the finished latents go through a 1x1 convolution to the VAE's channels.
        source: "declared" (in the file), "sidecar" (beside it) or "assumed" (a preset that somebody named).
        version: of the file format.

    Raises:
        ContractError: a field has a value that is not allowed, or the fields contradict each other.
    """

    solver: str
    prediction: Prediction
    steps: int = 20
    shift: float = 1.0
    cfg: float = 1.0
    num_train_timesteps: int = 1000
    timestep_cast: str = "int64_trunc"
    latent: tuple[int, int, int] | None = None
    vae: str = "wan2.1"
    text_pool: str = "mean_unpadded"
    output_projection: bool = False
    source: str = "assumed"
    version: int = VERSION

    def __post_init__(self) -> None:
        _check_version(self.version)
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise ContractError(f"contract: {name} is {getattr(self, name)!r}; allowed: {choices}.")
        object.__setattr__(self, "prediction", Prediction(self.prediction))
        _check_process(self.solver, self.prediction)
        if type(self.steps) is not int or not 1 <= self.steps <= MOST_STEPS:
            raise ContractError(f"contract: steps is {self.steps!r}; allowed are whole numbers from 1 to {MOST_STEPS}.")
        for name, least in (("shift", 0), ("cfg", -LARGEST_SHIFT)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least < value <= LARGEST_SHIFT:
                raise ContractError(
                    f"contract: {name} is {value!r}; allowed are numbers above {least:g} up to {LARGEST_SHIFT:g}."
                )
        if self.latent is not None:
            object.__setattr__(self, "latent", _latent(self.latent))

    @property
    def process(self) -> NoiseProcess:
        """The noise process in which the output is read."""
        return self.prediction.process

    def to_json(self) -> str:
        """Return the record as JSON text that :meth:`from_json` reads."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.latent is not None:
            content["latent"] = dict(zip(("channels", "height", "width"), self.latent, strict=True))
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str, *, origin: str = "contract", source: str | None = None) -> SamplingContract:
        """Return the record in ``text``.

        Args:
            text: a JSON object.
            origin: file name for messages.
            source: replaces the record's own; where it was found.

        Raises:
            ContractError: it is not JSON, of a newer version, lacks or has unknown fields, or a value is not allowed.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{origin}: the sampling contract is not JSON ({error}); stamp it again.") from None
        if not isinstance(content, dict):
            raise ContractError(
                f"{origin}: the sampling contract is {type(content).__name__}, not an object of fields; stamp it again."
            )
        _check_version(content.get("version"), origin)
        names = {field.name for field in fields(cls)}
        unknown, missing = sorted(set(content) - names), {"solver", "prediction"} - set(content)
        if unknown or missing:
            found = f"unknown fields {unknown}" if unknown else f"no {sorted(missing)}"
            raise ContractError(f"{origin}: the sampling contract has {found}; its fields are {sorted(names)}.")
        if source is not None:
            content["source"] = source
        try:
            return cls(**content)
        except ContractError as error:
            raise ContractError(f"{origin}: {error}") from None

    def schedule(self, *, denoise: float = 1.0) -> Schedule:
        """Return the contract's schedule, shift included; ``denoise`` below 1 keeps its end (image to image).

        Args:
            denoise: in (0, 1].

        Raises:
            ValueError: denoise outside (0, 1].
        """
        make = SOLVERS[self.solver].schedules[self.process].make
        return make(self.steps, shift=self.shift, denoise=denoise)

    def make_solver(self) -> Solver:
        """Return the contract's solver with the settings of training."""
        return SOLVERS[self.solver]()


# "teacher A14B" takes the teacher's schedule. Its guidance (3 and 4, by expert) is not a student's, which has none.
PRESETS: dict[str, SamplingContract] = {
    "ddim-10 training preview": SamplingContract("ddim", Prediction.EPSILON, steps=10),
    "ddim-20 run_inference": SamplingContract("ddim", Prediction.EPSILON, steps=20),
    "flow_unipc-20 shift 5": SamplingContract("flow_unipc", Prediction.VELOCITY, steps=20, shift=5.0),
    "flow_unipc-40 shift 12 (teacher A14B)": SamplingContract("flow_unipc", Prediction.VELOCITY, steps=40, shift=12.0),
}


def format_contract(contract: SamplingContract) -> str:
    """Return a contract in one line."""
    latent = "x".join(map(str, contract.latent)) if contract.latent else "of unknown size"
    projection = ", then projected" if contract.output_projection else ""
    return (
        f"{contract.solver}, {contract.steps} steps, shift {contract.shift:g}, cfg {contract.cfg:g}, output read as "
        f"{contract.prediction}, latent {latent}{projection}, VAE {contract.vae} ({contract.source})"
    )


def modelspec(contract: SamplingContract) -> dict[str, str]:
    """Return the ModelSpec header keys that follow from a contract (models that sample differently differ in name)."""
    return {
        "modelspec.architecture": f"wan-lite-student-{contract.solver}-{contract.prediction}",
        "modelspec.prediction_type": contract.prediction.value,
    }
